//go:build e2e

package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/heartbeat"
	"github.com/vireo-kvm/vireo/test/lab"
)

// beats returns what the receiver knows of a guest.
func beats(t *testing.T, l *lab.Lab, guest string) heartbeat.Guest {
	t.Helper()
	g, err := l.Heartbeats().Guest(t.Context(), guest)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// await waits until a condition on a guest's beats holds.
func await(t *testing.T, l *lab.Lab, guest, what string, ok func(heartbeat.Guest) bool) heartbeat.Guest {
	t.Helper()
	var g heartbeat.Guest
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if g = beats(t, l, guest); ok(g) {
			return g
		}
	}
	g.Gaps = nil
	t.Fatalf("%s: %s; last seen as %+v", guest, what, g)
	return g
}

func exec(t *testing.T, l *lab.Lab, machine string, argv ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), machine, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// migrateArgs is a plain live migration, as an operator types it.
func migrateArgs(guest, to string, more ...string) []string {
	return append([]string{"migrate", "--live", "--p2p", "--persistent", "--undefinesource", guest, "qemu+tcp://" + to + "/system"}, more...)
}

// TestFleet shows on one lab what the lab can show.
func TestFleet(t *testing.T) {
	l := up(t, lab.Options{Hosts: 3, Guests: 3, ShortKeepalive: true})
	t.Run("a live migration is seen from outside", func(t *testing.T) { liveMigration(t, l) })
	t.Run("links are cut, shaped and healed", func(t *testing.T) { links(t, l) })
	t.Run("a killed libvirtd comes back and its guests run on", func(t *testing.T) { killedLibvirtd(t, l) })
	t.Run("a disk is full, or read-only", func(t *testing.T) { disks(t, l) })
	t.Run("a host has its own identity", func(t *testing.T) { identity(t, l) })
	t.Run("a drive's days are replayed", func(t *testing.T) { replay(t, l) })
	t.Run("a host crashes and boots", func(t *testing.T) { crashAndBoot(t, l) })
	// The last one, because it leaves a guest in two places.
	t.Run("plain virsh migrate can leave a guest running twice", func(t *testing.T) { doubleRun(t, l) })
}

func liveMigration(t *testing.T, l *lab.Lab) {
	before := beats(t, l, "g1")
	if _, err := l.Virsh(t.Context(), "h1", migrateArgs("g1", "h2")...); err != nil {
		t.Fatal(err)
	}
	g := await(t, l, "g1", "does not beat from h2", func(g heartbeat.Guest) bool { return g.Host == "h2" && g.Counter > before.Counter+50 })
	if g.BootID != before.BootID || g.Restarts != 0 || g.DoubleSeconds != 0 || g.PatternErrors != 0 || g.DiskErrors != 0 || g.Rewinds != 0 {
		t.Errorf("the migration did more than move the guest: %+v", g)
	}
	if n := len(g.Moves) - len(before.Moves); n != 1 {
		t.Errorf("%d moves were seen, want 1", n)
	}
	if move := g.Moves[len(g.Moves)-1]; move.GapMS <= 0 || move.GapMS > 2000 {
		t.Errorf("the guest was silent for %v ms while it moved", move.GapMS)
	}
	states, err := l.GuestStates(t.Context())
	if err != nil || states[0].Host != "h2" || len(states[0].Copies) != 1 {
		t.Errorf("g1 is seen as %+v, %v", states[0], err)
	}
	if out, err := l.Virsh(t.Context(), "h2", "list", "--name"); err != nil || !strings.Contains(out, "g1\n") {
		t.Errorf("h2's libvirt lists %q, %v", out, err)
	}
}

// TestAGuestThatWritesAllTheTime moves one back and forth: what libvirt calls a
// success must leave the guest's memory whole.
func TestAGuestThatWritesAllTheTime(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, Guests: 1, DirtyMiB: 32, DirtyRate: 60})
	from, to := "h1", "h2"
	for range 3 {
		before := beats(t, l, "g1")
		if _, err := l.Virsh(t.Context(), from, migrateArgs("g1", to, "--auto-converge")...); err != nil {
			t.Fatal(err)
		}
		from, to = to, from
		// Two rounds over its memory after the move have compared every page.
		g := await(t, l, "g1", "does not write any more", func(g heartbeat.Guest) bool {
			return g.Host == from && g.DirtiedPages > before.DirtiedPages+3*32<<20/4096
		})
		if g.PatternErrors != 0 || g.BootID != before.BootID || g.Rewinds != 0 {
			t.Errorf("after the move to %s: %d errors in memory, boot %s, was %s", from, g.PatternErrors, g.BootID, before.BootID)
		}
	}
}

// reaches tells whether one machine gets an answer from another.
func reaches(t *testing.T, l *lab.Lab, from, to string) bool {
	t.Helper()
	_, err := l.Exec(t.Context(), from, "ping", "-c", "1", "-W", "1", to)
	return err == nil
}

func links(t *testing.T, l *lab.Lab) {
	if err := l.Cut(t.Context(), "h1", "h2", false); err != nil {
		t.Fatal(err)
	}
	if reaches(t, l, "h1", "h2") || reaches(t, l, "h2", "h1") {
		t.Error("the link between h1 and h2 is cut and they reach each other")
	}
	for _, pair := range [][2]string{{"h1", "h3"}, {"h2", "h3"}, {"h1", lab.ManagerName}, {"h1", "storage"}} {
		if !reaches(t, l, pair[0], pair[1]) {
			t.Errorf("the link between h1 and h2 is cut, and %s does not reach %s", pair[0], pair[1])
		}
	}
	if err := l.Cut(t.Context(), "h3", lab.ManagerName, false); err != nil {
		t.Fatal(err)
	}
	if reaches(t, l, "h3", lab.ManagerName) || reaches(t, l, "h1", "h2") {
		t.Error("a second cut does not work, or undid the first")
	}
	if err := l.HealLink(t.Context(), "h2", "h1"); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, l, "h1", "h2") || reaches(t, l, "h3", lab.ManagerName) {
		t.Error("healing one link did not heal it, or healed the other")
	}
	if err := l.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, l, "h3", lab.ManagerName) {
		t.Error("heal did not heal the link of h3 and the manager")
	}

	if err := l.Shape(t.Context(), "h1", "h2", "40mbit"); err != nil {
		t.Fatal(err)
	}
	// 8 MiB at 40 Mbit/s are 1.7 s, however slow the machine is. That a link is
	// not shaped shows in one transfer that is faster than that could be.
	const atLeast = 1200 * time.Millisecond
	if shaped := transfer(t, l, "h1", "h2"); shaped < atLeast {
		t.Errorf("8 MiB took %v over a link shaped to 40 Mbit/s", shaped)
	}
	if !fast(t, l, "h1", "h3", atLeast) {
		t.Error("shaping the link between h1 and h2 has shaped the one to h3")
	}
	if err := l.HealLinks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !fast(t, l, "h1", "h2", atLeast) {
		t.Error("healing has not taken the shaping away")
	}
	if err := l.Cut(t.Context(), "h1", "nobody", false); err == nil {
		t.Error("a link to nobody was cut")
	}
}

// fast says whether one of several transfers takes less than a limit: a busy
// machine makes some slow, shaping makes all slow.
func fast(t *testing.T, l *lab.Lab, from, to string, limit time.Duration) bool {
	t.Helper()
	for range 10 {
		if transfer(t, l, from, to) < limit {
			return true
		}
	}
	return false
}

// transfer sends 8 MiB between two hosts and returns how long that took.
func transfer(t *testing.T, l *lab.Lab, from, to string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	listen, err := l.Command(ctx, to, "sh", "-c", "busybox nc -l -p 9999 | busybox wc -c")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	listen.Stdout = &got
	if _, err := listen.StdinPipe(); err != nil { // kept open: nc ends with its standard input
		t.Fatal(err)
	}
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(exec(t, l, to, "ss", "-ltn"), ":9999 ") {
		time.Sleep(5 * time.Millisecond)
	}
	begin := time.Now()
	exec(t, l, from, "sh", "-c", "busybox dd if=/dev/zero bs=64k count=128 2>/dev/null | busybox nc -w 20 "+to+" 9999")
	if err := listen.Wait(); err != nil || strings.TrimSpace(got.String()) != fmt.Sprint(8<<20) {
		t.Fatalf("%s got %q bytes, %v", to, got.String(), err)
	}
	return time.Since(begin)
}

func killedLibvirtd(t *testing.T, l *lab.Lab) {
	before := beats(t, l, "g3")
	old, err := l.Machine(t.Context(), "h3")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Signal(t.Context(), "h3", "libvirtd", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var now lab.Machine
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if now, err = l.Machine(t.Context(), "h3"); err == nil && now.Libvirtd != 0 && now.Libvirtd != old.Libvirtd {
			if _, err := l.Virsh(t.Context(), "h3", "domstate", "g3"); err == nil {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("libvirtd did not come back: %+v, %v", now, err)
		}
	}
	if g := beats(t, l, "g3"); g.BootID != before.BootID || g.Host != "h3" || g.Restarts != before.Restarts {
		t.Errorf("the guest did not run on: %+v", g)
	}
}

func disks(t *testing.T, l *lab.Lab) {
	const file = "/var/lib/vireo-agent/file"
	write := []string{"sh", "-c", "dd if=/etc/hostname of=" + file + " && rm " + file}
	exec(t, l, "h1", write...)
	for fault, inject := range map[string]func(string) error{"No space left on device": l.FillDisk, "Read-only file system": l.ReadOnly} {
		if err := inject("h1"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Exec(t.Context(), "h1", write...); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("a write ended with %v, want %q", err, fault)
		}
		exec(t, l, "h2", write...)
		exec(t, l, "h1", "sh", "-c", "echo something >/var/lib/elsewhere")
		if err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		exec(t, l, "h1", write...)
	}
}

func identity(t *testing.T, l *lab.Lab) {
	for _, what := range [][]string{
		{"cat", "/etc/machine-id"}, {"cat", "/proc/sys/kernel/random/boot_id"}, {"hostname"}, {"cat", "/etc/hostname"},
		{"cat", "/sys/class/net/br0/address"}, {"sh", "-c", "virsh -c qemu:///system capabilities | grep -m 1 '<uuid>'"},
	} {
		seen := map[string]string{}
		for _, h := range l.Hosts {
			out := exec(t, l, h.Name, what...)
			if other := seen[out]; other != "" || out == "" {
				t.Errorf("%v is %q on both %s and %s", what, out, h.Name, other)
			}
			seen[out] = h.Name
		}
	}
	if out := exec(t, l, "h1", "sh", "-c", "ls /dev/kvm 2>&1; ls /run/vireo-lab/hosts; ls /run/netns 2>&1; ps ax | grep -c '[l]ibvirtd --listen'"); strings.Contains(out, "h2") || !strings.HasSuffix(out, "\n1") {
		t.Errorf("h1 sees more than itself:\n%s", out)
	}
	if out, err := l.Exec(t.Context(), "h1", "test", "-e", "/dev/kvm"); err == nil {
		t.Errorf("h1 has /dev/kvm: %s", out)
	}
	if out := exec(t, l, "h1", "getent", "hosts", "h2"); !strings.HasPrefix(out, lab.HostAddress(2)) {
		t.Errorf("h1 takes h2 for %q", out)
	}
}

func replay(t *testing.T, l *lab.Lab) {
	var said strings.Builder
	err := l.Replay(t.Context(), "h1", lab.Replay{Serial: "LAB0001", Drives: "testdata/drives", From: -2, To: 0, Every: time.Millisecond}, &said)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(said.String(), "\n") != 2 {
		t.Errorf("it said %q, want the days -2 and 0", said.String())
	}
	const smartctl = "/run/vireo-lab/hosts/h1/disk/smart/smartctl"
	if out := exec(t, l, "h1", smartctl, "--json", "--all", "/dev/sda"); !strings.Contains(out, `"serial_number": "LAB0001"`) {
		t.Errorf("h1's smartctl says %s", out)
	}
	if err := l.BreakSmartctl("h1", "missing"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Exec(t.Context(), "h1", smartctl, "--scan-open", "--json"); err == nil {
		t.Error("smartctl is missing and runs")
	}
	if err := l.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := exec(t, l, "h1", smartctl, "--scan-open", "--json"); !strings.Contains(out, "/dev/sda") {
		t.Errorf("after heal the scan says %s", out)
	}
}

func crashAndBoot(t *testing.T, l *lab.Lab) {
	old, err := l.Machine(t.Context(), "h3")
	if err != nil {
		t.Fatal(err)
	}
	before := beats(t, l, "g3")
	exec(t, l, "h3", "sh", "-c", "echo kept >/var/lib/vireo-agent/kept; echo lost >/run/lost")
	if err := l.Crash("h3"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join("/proc", fmt.Sprint(old.Libvirtd))); err == nil {
		t.Error("libvirtd has survived the crash of its host")
	}
	if reaches(t, l, "h1", "h3") {
		t.Error("a host that has crashed answers")
	}
	down, err := l.Machine(t.Context(), "h3")
	if err != nil || down.Up {
		t.Errorf("it is seen as %+v, %v", down, err)
	}
	if err := l.Crash("h3"); err == nil {
		t.Error("it crashed a second time")
	}
	if err := l.Boot(t.Context(), "h1"); err == nil {
		t.Error("a host that is up was booted")
	}
	await(t, l, "g3", "beats on after the crash", func(g heartbeat.Guest) bool { return g.SilentMS > 500 })

	if err := l.Boot(t.Context(), "h3"); err != nil {
		t.Fatal(err)
	}
	now, err := l.Machine(t.Context(), "h3")
	if err != nil || !now.Up || now.BootID == old.BootID {
		t.Errorf("after the boot it is %+v, %v", now, err)
	}
	if out := exec(t, l, "h3", "sh", "-c", "cat /var/lib/vireo-agent/kept; cat /proc/sys/kernel/random/boot_id; ls /run/lost 2>&1 || true"); !strings.HasPrefix(out, "kept\n"+now.BootID) || !strings.Contains(out, "No such file") {
		t.Errorf("after the boot h3 has\n%s", out)
	}
	g := await(t, l, "g3", "was not started again", func(g heartbeat.Guest) bool { return g.BootID != before.BootID })
	if g.Restarts != before.Restarts+1 || g.DoubleSeconds != 0 {
		t.Errorf("the restart was seen as %+v", g)
	}
	if _, err := l.Virsh(t.Context(), "h3", migrateArgs("g3", "h1")...); err != nil {
		t.Error("the host that has booted cannot send a guest away:", err)
	}
	if _, err := l.Virsh(t.Context(), "h1", migrateArgs("g3", "h3")...); err != nil {
		t.Error("the host that has booted cannot take a guest:", err)
	}
}

// doubleRun loses the answer of a migration's last step: the target's libvirtd is
// stopped while the memory arrives, and goes on after the source has given up. The
// transfer is slowed down to be caught, and still ends before that.
func doubleRun(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	before := beats(t, l, "g1")
	const from, to = "h2", "h1"
	if before.Host != from {
		t.Fatalf("g1 is on %s, expected it on %s", before.Host, from)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := l.Virsh(ctx, from, migrateArgs("g1", to, "--bandwidth", "60")...)
		failed <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, _ := l.Virsh(ctx, from, "domjobinfo", "g1")
		if strings.Contains(out, "Memory processed") && !strings.Contains(out, "Memory processed: 0.000") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the transfer did not begin: %s", out)
		}
	}
	if err := l.Signal(ctx, to, "libvirtd", unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Fatal("the migration succeeded although its target does not answer")
		}
		t.Log("the source says:", err)
	case <-time.After(60 * time.Second):
		t.Error("the source did not give up")
	}
	if err := l.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	g := await(t, l, "g1", "does not run twice", func(g heartbeat.Guest) bool { return g.DoubleSeconds >= 3 })
	states, err := l.GuestStates(ctx)
	if err != nil || len(states[0].Copies) != 2 {
		t.Errorf("g1 has the processes %+v, %v", states[0].Copies, err)
	}
	for _, host := range []string{from, to} {
		out, err := l.Virsh(ctx, host, "domstate", "--reason", "g1")
		if err != nil || !strings.HasPrefix(out, "running") {
			t.Errorf("%s says %q, %v, want running on both", host, out, err)
		}
		t.Logf("%s: %s", host, strings.TrimSpace(out))
	}
	t.Logf("two senders in %d s: %+v", g.DoubleSeconds, g.Doubles)
}
