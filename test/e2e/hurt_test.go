//go:build e2e

package e2e

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
)

// stop makes a service stand still, as SIGSTOP does.
func stop(t *testing.T, machine, service string) {
	t.Helper()
	if err := fleet.Signal(t.Context(), machine, service, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func goOn(t *testing.T, machine, service string) {
	t.Helper()
	if err := fleet.Signal(t.Context(), machine, service, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func cutOff(t *testing.T, a, b string, oneWay bool) {
	t.Helper()
	if err := fleet.Cut(t.Context(), a, b, oneWay); err != nil {
		t.Fatal(err)
	}
}

// killAll kills services and waits until each is back.
func killAll(t *testing.T, services [][2]string) {
	t.Helper()
	starts := func(of [2]string) (n int, runs bool) {
		m, err := fleet.Machine(t.Context(), of[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Services {
			if s.Name == of[1] {
				return s.Starts, s.PID > 0
			}
		}
		return 0, false
	}
	before := map[[2]string]int{}
	for _, s := range services {
		before[s], _ = starts(s)
		if err := fleet.Signal(t.Context(), s[0], s[1], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	fleet.Until(t, 30*time.Second, func() string {
		for _, s := range services {
			if n, runs := starts(s); n <= before[s] || !runs {
				return s[1] + " of " + s[0] + " is not back"
			}
		}
		return ""
	})
}

// targetStands stops the target's libvirtd when most of the memory has arrived. The
// rest goes over at full speed: the target's QEMU has everything before the source's
// libvirtd, which then waits for the answer to its last step, gives up.
func targetStands(t *testing.T, c crossing) {
	t.Helper()
	quickly(t, func() bool { j := job(t, c); return j.processed && j.little })
	stop(t, c.b, "libvirtd")
	if err := fleet.HealLinks(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// answerLost waits until the source's libvirtd has given up, and lets its guest run on.
func answerLost(t *testing.T, c crossing) {
	t.Helper()
	targetStands(t, c)
	fleet.Until(t, time.Minute, func() string {
		if !job(t, c).over {
			return "the source's libvirt has not given up"
		}
		return ""
	})
	isState(t, c.a, c.guest, "running")
}

// bothLeft loses the answer to the last step while the manager stands still: the
// guest runs on the source, and its copy waits on the target.
func bothLeft(t *testing.T, c crossing) {
	t.Helper()
	copied(t, c)
	stop(t, lab.ManagerName, "manager")
	answerLost(t, c)
	goOn(t, c.b, "libvirtd")
	isState(t, c.b, c.guest, "paused")
}

// killedInFinish kills the source's libvirtd when that waits for the answer to its
// last step.
func killedInFinish(t *testing.T, c crossing) {
	t.Helper()
	targetStands(t, c)
	isState(t, c.a, c.guest, "paused")
	time.Sleep(time.Second) // the last pass takes a third of it; the source gives up after four
	killAll(t, [][2]string{{c.a, "libvirtd"}})
}
