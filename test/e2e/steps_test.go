//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/e2e/labtest"
	"github.com/vireo-kvm/vireo/test/lab"
	"github.com/vireo-kvm/vireo/test/standstill"
)

// hold keeps a move between two of its effects from outside: whoever would do
// the next one is stopped, or does not hear of it, or its answer gets lost.
type hold struct {
	name string
	// first is done before the move is ordered, then when its memory is on its way.
	first, then func(t *testing.T, c crossing)
	reached     func(t *testing.T, c crossing) bool
	// arrived says that nothing but the guest's arrival is right from here on.
	arrived bool
}

// holds are in the order of a move's effects.
var holds = []hold{
	{name: "the claim is transferring, the target has not answered",
		first:   func(t *testing.T, c crossing) { stop(t, c.b, "agent") },
		reached: stepSeen("ordered prepare")},
	{name: "the target is prepared, the source has not answered",
		first:   func(t *testing.T, c crossing) { stop(t, c.a, "agent") },
		reached: stepSeen("ordered move")},
	{name: "the source has called its libvirt, which does not reach the target's",
		first:   func(t *testing.T, c crossing) { cutOff(t, c.a, c.b, false) },
		reached: stepSeen("running")},
	{name: "the memory is on its way",
		reached: func(t *testing.T, c crossing) bool { return row(t, c).GetProgress().GetDataProcessed() > 0 }},
	{name: "complete on the target, what became of the source is not known",
		then:    func(t *testing.T, c crossing) { stop(t, c.a, "agent") },
		reached: stepSeen("complete on the target")},
	{name: "gone on the source, the manager does not know",
		then:    func(t *testing.T, _ crossing) { stop(t, lab.ManagerName, "manager") },
		reached: func(t *testing.T, c crossing) bool { return !slices.Contains(copiesOf(t, c.guest), c.a) }},
	{name: "the claim is the target's, the order to resume is lost",
		then:    onlyArrivalIsMissing(func(t *testing.T, c crossing) { cutOff(t, lab.ManagerName, c.b, true) }),
		reached: stepSeen("ordered resume"), arrived: true},
	{name: "the target runs it, its answer is lost",
		then:    onlyArrivalIsMissing(func(t *testing.T, c crossing) { cutOff(t, c.b, lab.ManagerName, true) }),
		reached: func(t *testing.T, c crossing) bool { return beatsFrom(t, c.guest, c.b) }, arrived: true},
	{name: "the target runs it, the source still has its definition",
		then: func(t *testing.T, c crossing) {
			m, err := fleet.Machine(t.Context(), c.a)
			if err != nil {
				t.Fatal(err)
			}
			// libvirt's call returns 200 ms after the guest has gone: time enough to
			// stop the agent that would settle what is left then.
			quickly(t, func() bool { return stepSeen("runs on the target")(t, c) })
			if err := standstill.Stop(m.Agent); err != nil {
				t.Fatal(err)
			}
		},
		reached: stepSeen("runs on the target"), arrived: true},
}

// onlyArrivalIsMissing does something in the moment in which the target has its
// copy and has said so, and only the source's word is missing, which comes then.
func onlyArrivalIsMissing(do func(*testing.T, crossing)) func(*testing.T, crossing) {
	return func(t *testing.T, c crossing) {
		stop(t, c.a, "agent")
		quickly(t, func() bool { return stepSeen("complete on the target")(t, c) })
		do(t, c)
		if err := fleet.Signal(t.Context(), c.a, "agent", unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}

// victims are what is killed between two effects.
var victims = []struct {
	name string
	of   func(crossing) [][2]string // machine, service
}{
	{"the manager", func(crossing) [][2]string { return [][2]string{{lab.ManagerName, "manager"}} }},
	{"the source's agent", func(c crossing) [][2]string { return [][2]string{{c.a, "agent"}} }},
	{"the target's agent", func(c crossing) [][2]string { return [][2]string{{c.b, "agent"}} }},
	{"the source's libvirtd", func(c crossing) [][2]string { return [][2]string{{c.a, "libvirtd"}} }},
	{"the target's libvirtd", func(c crossing) [][2]string { return [][2]string{{c.b, "libvirtd"}} }},
	{"manager and agents", func(c crossing) [][2]string {
		return [][2]string{{lab.ManagerName, "manager"}, {c.a, "agent"}, {c.b, "agent"}}
	}},
}

// usual are the cells of the table of holds and victims that every run of the
// tests tries; VIREO_LONG tries all.
var usual = map[string]string{
	holds[1].name: "the target's agent",
	holds[4].name: "the manager",
	holds[7].name: "manager and agents",
}

// TestCrashAtEveryStep kills whoever takes part in a move between any two of its
// effects: twice, so that what follows the crash crashes too and is done again.
// The move ends all the same, with the guest unharmed and once where its claim is.
func TestCrashAtEveryStep(t *testing.T) {
	for _, h := range holds {
		for _, v := range victims {
			if !labtest.Long() && usual[h.name] != v.name {
				continue
			}
			if !t.Run(h.name+"; "+v.name, func(t *testing.T) { crashAt(t, h, v.of) }) {
				if err := fleet.Heal(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	home(t)
}

func crashAt(t *testing.T, h hold, victims func(crossing) [][2]string) {
	settled(t)
	fleet.Watched(t, time.Second, func() {
		c := cross(t, h.first)
		if h.then != nil {
			quickly(t, func() bool { return row(t, c).GetProgress().GetDataProcessed() > 0 })
			h.then(t, c)
		}
		quickly(t, func() bool { return h.reached(t, c) })
		for range 2 {
			killAll(t, victims(c))
		}
		if err := fleet.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		ends(t, c)
		if end := row(t, c); h.arrived && end.GetState() != "done" {
			t.Errorf("the move ended %s: %s", end.GetState(), end.GetOutcomeReason())
		}
	})
	finishedWithReasons(t)
}

// TestManagerAwayAtTheSwitch takes the manager's machine away while a guest is
// copied: the source's agent, which alone knows that its process has gone by the
// move, lets the target's copy run. The manager finds it so when it is back.
func TestManagerAwayAtTheSwitch(t *testing.T) {
	settled(t)
	fleet.Watched(t, time.Second, func() {
		c := cross(t, nil)
		quickly(t, func() bool { return row(t, c).GetProgress().GetDataProcessed() > 0 })
		if err := fleet.Crash(lab.ManagerName); err != nil {
			t.Fatal(err)
		}
		fleet.Until(t, time.Minute, func() string {
			if !beatsFrom(t, c.guest, c.b) {
				return c.guest + " does not run on " + c.b
			}
			return ""
		})
		if m, err := fleet.Machine(t.Context(), lab.ManagerName); err != nil || m.Up {
			t.Errorf("the manager's machine is up: %+v, %v", m, err)
		}
		if err := fleet.Boot(t.Context(), lab.ManagerName); err != nil {
			t.Fatal(err)
		}
		ends(t, c)
		if end := row(t, c); end.GetState() != "done" {
			t.Errorf("the move ended %s: %s", end.GetState(), end.GetOutcomeReason())
		}
	})
	finishedWithReasons(t)
	home(t)
}
