//go:build e2e

package libvirtd_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/libvirtd"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/test/lab"
	"github.com/vireo-kvm/vireo/test/standstill"
)

// inside names the directory that both hosts see, and says that this process is
// the one that runs on the first lab host, where an agent would.
const inside = "LIBVIRTD_CONTRACT_INSIDE"

// busyMiB is how much of a guest's memory is not empty.
const busyMiB = 16

// TestContractOnLab runs the contract on two lab hosts: this program brings them
// up and runs itself again on the first one.
func TestContractOnLab(t *testing.T) {
	if dir := os.Getenv(inside); dir != "" {
		contract(t, dir)
		return
	}
	dir := t.TempDir()
	noise := make([]byte, busyMiB<<20)
	_, _ = rand.Read(noise) // never fails
	if err := os.WriteFile(filepath.Join(dir, "noise"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Down(nil); err != nil {
			t.Error("down:", err)
		}
	})
	l, err := lab.Up(t.Context(), lab.Options{Hosts: 2, NoVireo: true, ShortKeepalive: true, Say: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := "^TestContractOnLab$"
	if _, subtest, ok := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); ok {
		run += "/" + subtest
	}
	args := []string{"env", inside + "=" + dir, self, "-test.run", run, "-test.timeout", "9m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd, err := l.Command(t.Context(), "h1", args...)
	if err != nil {
		t.Fatal(err)
	}
	orders, done := faults(t, l)
	cmd.ExtraFiles = []*os.File{orders, done}
	out, err := cmd.CombinedOutput()
	t.Logf("on h1:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// The files on which the program inside orders faults, and hears that they have
// been done.
const (
	ordersFD = 3
	doneFD   = 4
)

// faults does what the program inside can't do from where it is: a line "HOST
// VERB NAME" comes in, and one with the error, empty for none, goes out.
func faults(t *testing.T, l *lab.Lab) (orders, done *os.File) {
	t.Helper()
	in, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{in, orders, done, out} {
			_ = f.Close()
		}
	})
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			err := fault(t.Context(), l, strings.Fields(lines.Text()))
			text := ""
			if err != nil {
				text = strings.ReplaceAll(err.Error(), "\n", " ")
			}
			_, _ = fmt.Fprintln(out, text) // nobody reads any more when the test is over
		}
	}()
	return orders, done
}

func fault(ctx context.Context, l *lab.Lab, words []string) error {
	host, verb := words[0], words[1]
	switch verb {
	case "freeze":
		return l.Signal(ctx, host, "libvirtd", unix.SIGSTOP)
	case "thaw":
		return l.Signal(ctx, host, "libvirtd", unix.SIGCONT)
	case "kill":
		return l.Signal(ctx, host, "libvirtd", unix.SIGKILL) // the lab starts it again
	case "qemu":
		_, err := l.Exec(ctx, host, "sh", "-c", "kill -9 $(cat /run/libvirt/qemu/"+words[2]+".pid)")
		return err
	}
	return fmt.Errorf("no fault %q", verb)
}

func contract(t *testing.T, dir string) {
	open, err := libvirtd.New(libvirtd.Options{KeepAliveInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	orders, answers := os.NewFile(ordersFD, "orders"), bufio.NewScanner(os.NewFile(doneFD, "done"))
	order := func(words ...string) {
		if _, err := fmt.Fprintln(orders, strings.Join(words, " ")); err != nil {
			t.Error(err)
		}
		if !answers.Scan() || answers.Text() != "" {
			t.Errorf("%v: %s", words, answers.Text())
		}
	}
	side := func(uri, name string) virttest.Side {
		return virttest.Side{Open: open, URI: uri, Peer: "qemu+tcp://" + name + "/system", Exits: libvirtd.Exits{},
			RestartLibvirtd: func() { order(name, "kill") },
			Freeze:          func() { order(name, "freeze") },
			Thaw:            func() { order(name, "thaw") },
			KillQEMU:        func(domain string) { order(name, "qemu", domain) },
		}
	}
	bench := virttest.Bench{
		A: side("qemu:///system", "h1"), B: side("qemu+tcp://h2/system", "h2"),
		Guest: func(name, uuid string) string { return guest(name, uuid, filepath.Join(dir, "noise")) },
		Wait:  time.Sleep, SlowMiBs: busyMiB / 4,
	}
	virttest.Contract(t, func(t *testing.T, name string, test func(*testing.T, virttest.Bench)) {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { empty(t, "qemu:///system"); empty(t, "qemu+tcp://h2/system") })
			test(t, bench)
		})
	})
	t.Run("a guest that hangs", func(t *testing.T) {
		t.Cleanup(func() { empty(t, "qemu:///system") })
		testHungGuest(t, bench)
	})
}

// testHungGuest: one guest's QEMU stands still with somebody's call inside, and
// the list of all domains still comes in time, with that guest in it.
func testHungGuest(t *testing.T, bench virttest.Bench) {
	c, err := bench.A.Open(t.Context(), bench.A.URI, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	uuid, err := c.StartXML(t.Context(), bench.Guest("hung", "7d3a0c44-0003-4b60-9f1c-5a6e0f6a1c03"), false)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Process(t.Context(), uuid)
	if err != nil || p.PID == 0 {
		t.Fatalf("process: %+v, %v", p, err)
	}
	if err := standstill.Stop(p.PID); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(p.PID, unix.SIGCONT) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = virsh(ctx, bench.A.URI, "qemu-monitor-command", uuid, "--hmp", "info status") }()

	look := func() (virt.Job, time.Duration) {
		began := time.Now()
		all, err := c.Domains(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("list: %+v, %v", all, err)
		}
		return all[0].Job, time.Since(began)
	}
	var j virt.Job
	for range 100 { // until virsh's call is inside
		if j, _ = look(); j.Active() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !j.Active() || j.Operation != virt.OpUnknown {
		t.Fatalf("the job of a guest that hangs: %+v", j)
	}
	if j, took := look(); !j.Active() || took > 500*time.Millisecond {
		t.Errorf("a second look: %+v after %s; want no second wait", j, took)
	}
	if err := unix.Kill(p.PID, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		if j, _ = look(); !j.Active() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("20 s after it went on: %+v", j)
}

// guest boots no system: the firmware waits for one, beside memory that is full
// of noise and has to be transferred.
func guest(name, uuid, noise string) string {
	return fmt.Sprintf(`<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>%s</name>
  <uuid>%s</uuid>
  <title>the contract's guest</title>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='null'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-device'/>
    <qemu:arg value='loader,file=%s,addr=0x2000000,force-raw=on'/>
  </qemu:commandline>
</domain>`, name, uuid, noise)
}

// empty removes all domains; virsh waits until libvirtd is back.
func empty(t *testing.T, uri string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out []byte
	var err error
	for out, err = virsh(ctx, uri, "list", "--all", "--uuid"); err != nil && ctx.Err() == nil; {
		time.Sleep(100 * time.Millisecond)
		out, err = virsh(ctx, uri, "list", "--all", "--uuid")
	}
	if err != nil {
		t.Errorf("%s: list: %v", uri, err)
	}
	for _, uuid := range strings.Fields(string(out)) {
		_, _ = virsh(ctx, uri, "destroy", uuid)  // it may be shut off
		_, _ = virsh(ctx, uri, "undefine", uuid) // it may have been transient
	}
	if out, err = virsh(ctx, uri, "list", "--all", "--uuid"); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("%s is not empty: %s, %v", uri, out, err)
	}
}

func virsh(ctx context.Context, uri string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, "virsh", append([]string{"-q", "-c", uri}, args...)...).Output()
}
