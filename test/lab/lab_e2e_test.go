//go:build e2e

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
)

// traces is what a lab can leave on the machine.
type traces struct {
	netns, links, mounts, files []string
}

func look(t *testing.T) traces {
	t.Helper()
	list := func(glob string) []string {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var mounts []string
	for line := range strings.Lines(string(b)) {
		mounts = append(mounts, strings.Fields(line)[4])
	}
	slices.Sort(mounts)
	return traces{netns: list("/run/netns*"), links: list("/sys/class/net/*"), mounts: mounts, files: append(list(lab.Dir), list("/run/netns/*")...)}
}

// clean fails the test for everything that was not there before the lab, and for
// every process that still lives in one of the lab's pid namespaces.
func clean(t *testing.T, before traces, spaces map[string]string) {
	t.Helper()
	after := look(t)
	for _, pair := range [][2][]string{{before.netns, after.netns}, {before.links, after.links}, {before.mounts, after.mounts}, {before.files, after.files}} {
		for _, x := range pair[1] {
			if !slices.Contains(pair[0], x) {
				t.Errorf("left behind: %s", x)
			}
		}
		for _, x := range pair[0] {
			if !slices.Contains(pair[1], x) {
				t.Errorf("was not the lab's and is gone: %s", x)
			}
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if id, err := os.Readlink(link); err == nil && spaces[id] != "" {
			pid := strings.Split(link, "/")[2]
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			if strings.Contains(string(stat), ") Z ") {
				continue // ended; its parent, the real machine's init, has not looked yet
			}
			t.Errorf("process %s of %s still runs: %s", pid, spaces[id], stat)
		}
	}
}

// spaces returns the pid namespaces of a lab: their identity → the machine.
func spaces(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range l.Machines() {
		m, err := l.Machine(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		out[m.Namespaces["pid"]] = name
	}
	return out
}

// withVireo makes up bring manager and agents up, too.
func withVireo(o *lab.Options) { o.NoVireo = false }

// up brings a lab up, of hosts and guests only, and takes it away when the test ends.
func up(t *testing.T, o lab.Options, change ...func(*lab.Options)) *lab.Lab {
	t.Helper()
	o.NoVireo = true
	for _, c := range change {
		c(&o)
	}
	o.Say = func(line string) { t.Log(line) }
	t.Cleanup(func() {
		if err := lab.Down(nil); err != nil {
			t.Error("down:", err)
		}
	})
	l, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func program(t *testing.T, args ...string) *osexec.Cmd {
	t.Helper()
	bin, err := lab.FindBin()
	if err != nil {
		t.Fatal(err)
	}
	return osexec.CommandContext(t.Context(), filepath.Join(bin, "vireo-lab"), args...)
}

func TestUpAndDownLeaveNothing(t *testing.T) {
	before := look(t)
	l := up(t, lab.Options{Hosts: 2, Guests: 2})
	in := spaces(t, l)
	if now := look(t); len(now.netns) == 0 || len(now.links) == len(before.links) || len(now.mounts) == len(before.mounts) || len(in) != 4 {
		t.Fatalf("this test does not see a lab that is up: %+v, %v", now, in)
	}

	if _, err := lab.Up(t.Context(), lab.Options{Hosts: 1}); !errors.Is(err, lab.ErrUp) {
		t.Errorf("a second Up returned %v, want ErrUp", err)
	}
	out, err := program(t, "up", "--hosts", "1", "--guests", "0", "--no-vireo").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "up already: 2 hosts and 2 guests") {
		t.Errorf("a second `vireo-lab up`: %v, it said %q", err, out)
	}
	if guests, err := l.GuestStates(t.Context()); err != nil || guests[0].QEMU == 0 || guests[1].QEMU == 0 {
		t.Errorf("the refused up has hurt the guests: %+v, %v", guests, err)
	}
	// The defined address of a host stays on it, whatever taps its bridge gets.
	if out, err := l.Exec(t.Context(), "h1", "cat", "/sys/class/net/br0/address"); err != nil || strings.TrimSpace(out) != "02:77:00:00:01:01" {
		t.Errorf("address of h1's bridge: %q, %v", out, err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	clean(t, before, in)
	if _, err := lab.Open(); !errors.Is(err, lab.ErrDown) {
		t.Errorf("Open after Down returned %v, want ErrDown", err)
	}
	if err := lab.Down(nil); err != nil {
		t.Errorf("Down with nothing up: %v", err)
	}
}

func TestDownAfterEverythingWasKilled(t *testing.T) {
	before := look(t)
	l := up(t, lab.Options{Hosts: 2, Guests: 2})
	in := spaces(t, l)
	guests, err := l.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A guest, a libvirtd, a whole host and the switch, each its own way out of the lab's hands.
	h1, err := l.Machine(t.Context(), "h1")
	if err != nil {
		t.Fatal(err)
	}
	h2, err := l.Machine(t.Context(), "h2")
	if err != nil {
		t.Fatal(err)
	}
	lan, err := l.Machine(t.Context(), lab.SwitchName)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{guests[0].QEMU, h1.Libvirtd, h2.PID, lan.PID} {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatalf("kill %d: %v", pid, err)
		}
	}
	if out, err := program(t, "down").CombinedOutput(); err != nil {
		t.Fatalf("down: %v: %s", err, out)
	}
	clean(t, before, in)
}

// TestUpKilledAtAnyPoint kills `vireo-lab up` later and later, until it wins.
func TestUpKilledAtAnyPoint(t *testing.T) {
	for wait := 20 * time.Millisecond; ; wait = wait * 3 / 2 {
		before := look(t)
		cmd := program(t, "up", "--hosts", "2", "--guests", "1", "--no-vireo")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		won := false
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("up was left alone and failed: %v", err)
			}
			won = true
		case <-time.After(wait):
			_ = cmd.Process.Kill()
			<-done
		case <-ctx.Done():
			t.Fatal("up neither ended nor could be killed")
		}
		in := map[string]string{}
		if l, err := lab.Open(); err == nil {
			for _, name := range l.Machines() {
				if m, err := l.Machine(t.Context(), name); err == nil && m.Up {
					in[m.Namespaces["pid"]] = name
				}
			}
		}
		if !won {
			if _, err := os.Stat(lab.Dir); err == nil {
				out, err := program(t, "up").CombinedOutput()
				if err == nil || !strings.Contains(string(out), "vireo-lab down") {
					t.Errorf("an up after one that was killed: %v, %s", err, out)
				}
			}
		}
		if out, err := program(t, "down").CombinedOutput(); err != nil {
			t.Fatalf("down after up was killed at %v: %v: %s", wait, err, out)
		}
		clean(t, before, in)
		if t.Failed() {
			t.Fatalf("that was after up was killed at %v", wait)
		}
		if won {
			return
		}
	}
}

func TestAForeignNamespaceIsLeftAlone(t *testing.T) {
	if out, err := osexec.Command("ip", "netns", "add", "vireo-h2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if out, err := osexec.Command("ip", "netns", "del", "vireo-h2").CombinedOutput(); err != nil {
			t.Errorf("the foreign namespace is gone: %v: %s", err, out)
		}
	}()
	before := look(t)
	if _, err := lab.Up(t.Context(), lab.Options{Hosts: 2, NoVireo: true}); err == nil || !strings.Contains(err.Error(), "vireo-h2") {
		t.Errorf("up over a foreign namespace: %v", err)
	}
	clean(t, before, nil)
}

func TestImpossibleOptionsAreNamed(t *testing.T) {
	for flags, want := range map[string]string{
		"--hosts=0x":                      "hosts",
		"--hosts=65":                      "hosts: 65, expected 1 to 64",
		"--guests=-1":                     "guests: -1, expected 0 to 200",
		"--guest-mem=10":                  "guest-mem: 10 MiB, expected 96 to 65536",
		"--guests-on=h9":                  `guests-on: "h9", expected one of h1 to h3`,
		"--guest-mem=128 --dirty-mem=100": "dirty-mem: 100 MiB, expected 0 to 56",
		"--no-such-flag":                  "no-such-flag",
	} {
		t.Run(flags, func(t *testing.T) {
			out, err := program(t, append([]string{"up"}, strings.Fields(flags)...)...).CombinedOutput()
			var exit *osexec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("ended with %v, want exit code 2", err)
			}
			if !strings.Contains(string(out), want) {
				t.Errorf("said %q, want it to name %q", out, want)
			}
		})
	}
	if _, err := os.Stat(lab.Dir); err == nil {
		t.Error(fmt.Sprint(lab.Dir, " was made"))
	}
}
