//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
	"github.com/vireo-kvm/vireo/test/standstill"
)

// crossing is a guest on its way from a to b.
type crossing struct {
	guest, a, b, id string
}

// copying is the speed of the link: a guest's memory takes a few seconds, less
// than it takes the manager to give up a host that does not answer.
const copying = "300mbit"

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
	long := os.Getenv("VIREO_LONG") != ""
	for _, h := range holds {
		for _, v := range victims {
			if !long && usual[h.name] != v.name {
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

// cross orders a move of g1 to another host, one that is not avoided because of
// what an earlier crash made it refuse.
func cross(t *testing.T, first func(*testing.T, crossing)) (c crossing) {
	t.Helper()
	c.guest = fleet.Guests[0].Name
	var wrong string
	if c.a, wrong = runsOnce(t, c.guest); wrong != "" {
		t.Fatal(wrong)
	}
	api, err := fleet.API()
	if err != nil {
		t.Fatal(err)
	}
	fleet.Until(t, 2*time.Minute, func() (refused string) {
		for _, h := range fleet.Hosts {
			if c.b = h.Name; c.b == c.a {
				continue
			}
			if err := fleet.Shape(t.Context(), c.a, c.b, copying); err != nil {
				t.Fatal(err)
			}
			if first != nil {
				first(t, c)
			}
			moved, err := api.MoveClaim(t.Context(), connect.NewRequest(&managerv1.MoveClaimRequest{
				Domain: fleet.Guests[0].UUID, Target: c.b, Reason: "to be disturbed",
			}))
			if err == nil {
				c.id = moved.Msg.GetMigration().GetId()
				return ""
			}
			refused = err.Error()
			if err := fleet.Heal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return refused
	})
	return c
}

// ends waits until a move has ended and its guest is at rest.
func ends(t *testing.T, c crossing) {
	t.Helper()
	// A call whose return nobody will see counts as over after 40 s without a job.
	fleet.Until(t, 4*time.Minute, func() string {
		switch m := row(t, c); m.GetState() {
		case "done", "rolled_back":
			return unsettled(t)
		case "failed", "unclear":
			return fmt.Sprintf("%s → %s is %s: %s%s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetWaiting(), m.GetOutcomeReason())
		default:
			return fmt.Sprintf("%s → %s is still %s: %s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetWaiting())
		}
	})
	m := row(t, c)
	t.Logf("%s → %s ended %s: %s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetOutcomeReason())
}

// row asks the manager for a move; nil while it does not answer.
func row(t *testing.T, c crossing) *managerv1.Migration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	api, err := fleet.API()
	if err != nil {
		t.Fatal(err)
	}
	res, err := api.GetMigration(ctx, connect.NewRequest(&managerv1.GetMigrationRequest{Id: c.id}))
	if err != nil {
		return nil
	}
	return res.Msg.GetMigration()
}

func stepSeen(name string) func(*testing.T, crossing) bool {
	return func(t *testing.T, c crossing) bool {
		return slices.ContainsFunc(row(t, c).GetSteps(), func(s *managerv1.Step) bool { return s.GetName() == name })
	}
}

// quickly waits for a moment that does not last.
func quickly(t *testing.T, now func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !now(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			fleet.Story(t)
			t.Fatal("the move did not come to where it was to be disturbed")
		}
	}
}

func stop(t *testing.T, machine, service string) {
	t.Helper()
	if err := fleet.Signal(t.Context(), machine, service, unix.SIGSTOP); err != nil {
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

// copiesOf returns the hosts with a process of a guest.
func copiesOf(t *testing.T, guest string) (hosts []string) {
	t.Helper()
	states, err := fleet.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Name == guest {
			for _, c := range s.Copies {
				hosts = append(hosts, c.Host)
			}
		}
	}
	return hosts
}

// beatsFrom says whether a guest is heard from a host, now.
func beatsFrom(t *testing.T, guest, host string) bool {
	t.Helper()
	g, err := fleet.Heartbeats().Guest(t.Context(), guest)
	if err != nil {
		t.Fatal(err)
	}
	return g.Host == host && g.SilentMS < 500
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
