//go:build e2e

package lab_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
)

// TestVireoIsThereAsOperatorsKnowIt brings a fleet up with manager and agents.
func TestVireoIsThereAsOperatorsKnowIt(t *testing.T) {
	before := look(t)
	l := up(t, lab.Options{Hosts: 2, Guests: 1, Mode: "recommend"}, withVireo)
	in := spaces(t, l)
	vireo := func(args ...string) string {
		t.Helper()
		out, err := l.Vireo(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// shows waits until a read of vireo's holds all words.
	shows := func(args []string, words ...string) {
		t.Helper()
		var out string
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			out, _ = l.Vireo(t.Context(), args...)
			missing := false
			for _, w := range words {
				missing = missing || !strings.Contains(out, w)
			}
			if !missing {
				return
			}
		}
		t.Errorf("vireo %s says\n%s\nwant it to hold %q", strings.Join(args, " "), out, words)
	}
	if out := vireo("domains"); !strings.Contains(out, "g1") || !strings.Contains(out, "held") {
		t.Errorf("up returned before the guest's claim was held:\n%s", out)
	}

	drive, err := lab.ReadDrive("testdata/drives/LAB0001.csv")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ShowDrive("h1", drive, drive.Days[0]); err != nil {
		t.Fatal(err)
	}
	shows([]string{"host", "h1"}, "disk:LAB0001 for its root file system")
	if out := vireo("host", "h2"); strings.Contains(out, "LAB0001") {
		t.Errorf("h2 shows h1's drive:\n%s", out)
	}

	// Daemons come back by themselves; so does the manager's machine, with what it knew.
	for machine, service := range map[string]string{"h1": "agent", lab.ManagerName: "manager"} {
		if err := l.Signal(t.Context(), machine, service, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	shows([]string{"status"}, "2 of 2 connected", "term 2")
	if err := l.Crash(lab.ManagerName); err != nil {
		t.Fatal(err)
	}
	if err := l.Boot(t.Context(), lab.ManagerName); err != nil {
		t.Fatal(err)
	}
	shows([]string{"status"}, "2 of 2 connected", "term 3", "recommend")
	if err := l.Crash("h2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Boot(t.Context(), "h2"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := l.Machine(t.Context(), "h2")
		if err == nil && m.Agent != 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after its boot h2 is %+v, %v", m, err)
		}
	}
	shows([]string{"status"}, "2 of 2 connected")
	for id, machine := range spaces(t, l) {
		in[id] = machine
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	clean(t, before, in)
}
