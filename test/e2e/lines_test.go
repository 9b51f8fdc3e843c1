//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/e2e/labtest"
	"github.com/vireo-kvm/vireo/test/lab"
)

// restingState brings a move to one line of the table of resting states, on real
// libvirt, and says how it has to end.
type restingState struct {
	line   int
	name   string
	byHand []string // virsh migrate's own flags; nil: the move is vireo's
	reach  func(t *testing.T, c crossing)
	// state is what the row ends as, and at what the guest is on the target ("b"),
	// on the source ("a"), or nowhere ("").
	state, at string
	// hurts says that the guest cannot come through unharmed: a person ends it, or
	// it runs twice by a plain virsh migrate.
	hurts bool
	// usual states are tried in every run of the tests; VIREO_LONG tries all.
	usual bool
}

var plain = []string{"--persistent", "--undefinesource"}

var restingStates = []restingState{
	{line: 1, name: "gone by the move, complete on the target", state: "done", at: "b"},
	{line: 2, name: "gone, running on the target", byHand: plain, state: "done", at: "b"},
	{line: 3, name: "given up while the memory was on its way", state: "rolled_back", at: "a",
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			fleet.Must(t, "migrations", "abort", c.id, "--reason", "to see line 3")
		}},
	{line: 3, name: "given up by hand", byHand: plain, state: "rolled_back", at: "a",
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			virsh(t, c.a, "domjobabort", c.guest)
		}},
	{line: 4, name: "the answer of the last step is lost", state: "rolled_back", at: "a", usual: true,
		reach: func(t *testing.T, c crossing) {
			bothLeft(t, c)
			goOn(t, lab.ManagerName, "manager")
		}},
	{line: 5, name: "the source's libvirtd is killed after the last step was asked for", state: "rolled_back", at: "a",
		reach: func(t *testing.T, c crossing) {
			killedInFinish(t, c)
			goOn(t, c.b, "libvirtd")
		}},
	{line: 6, name: "the same, and somebody resumes the target's copy before vireo can give it up", state: "done", at: "b",
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			stop(t, c.a, "agent")
			killedInFinish(t, c)
			goOn(t, c.b, "libvirtd")
			isState(t, c.b, c.guest, "paused")
			virsh(t, c.b, "resume", c.guest) // waits for libvirt's job, if that is not over
			goOn(t, c.a, "agent")
		}},
	{line: 6, name: "the same by hand: the target's copy runs by itself", byHand: plain, state: "done", at: "b", usual: true,
		reach: func(t *testing.T, c crossing) {
			killedInFinish(t, c)
			goOn(t, c.b, "libvirtd")
		}},
	{line: 7, name: "it ran again on the source and was ended there", state: "failed", at: "", hurts: true, usual: true,
		reach: func(t *testing.T, c crossing) {
			bothLeft(t, c)
			virsh(t, c.a, "destroy", c.guest)
			goOn(t, lab.ManagerName, "manager")
		}},
	{line: 8, name: "the source's host dies between complete and gone", state: "done", at: "b",
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			stop(t, c.a, "agent")
			quickly(t, func() bool { return stepSeen("complete on the target")(t, c) })
			if err := fleet.Crash(c.a); err != nil {
				t.Fatal(err)
			}
			if err := fleet.Boot(t.Context(), c.a); err != nil {
				t.Fatal(err)
			}
			fleet.Until(t, time.Minute, func() string {
				if m := row(t, c); m.GetState() != "unclear" {
					return "the move is " + m.GetState() + ": " + m.GetWaiting()
				}
				return ""
			})
			fleet.Must(t, "claims", "resolve", c.guest, "--resume", "--reason", "it has not run since")
		}, hurts: true}, // the host's other guests boot again
	{line: 9, name: "its process is killed while the memory is on its way", state: "failed", at: "", hurts: true,
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			states, err := fleet.GuestStates(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range states {
				for _, p := range g.Copies {
					if g.Name == c.guest && p.Host == c.a {
						if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}},
	{line: 10, name: "by hand with post-copy, from its first pages on", byHand: append([]string{"--postcopy"}, plain...), state: "done", at: "b",
		reach: func(t *testing.T, c crossing) {
			copied(t, c)
			virsh(t, c.a, "migrate-postcopy", c.guest)
		}},
	{line: 11, name: "the answer of the last step of a plain virsh migrate is lost", byHand: plain, state: "rolled_back", at: "a", hurts: true,
		reach: func(t *testing.T, c crossing) {
			answerLost(t, c)
			goOn(t, c.b, "libvirtd")
			fleet.Until(t, time.Minute, func() string {
				if claim := claimOf(t, c.guest); claim.GetPhase() != "ambiguous" {
					return fmt.Sprintf("its claim is %s by %s", claim.GetPhase(), claim.GetHolder())
				}
				return ""
			})
			for _, h := range []string{c.a, c.b} {
				isState(t, h, c.guest, "running") // nothing was stopped
			}
			virsh(t, c.b, "destroy", c.guest) // a person's choice
		}},
}

// TestRestingStates: every line of the table is reached on real libvirt, is seen
// for what it is, and ends as the table says.
func TestRestingStates(t *testing.T) {
	for _, s := range restingStates {
		if !labtest.Long() && !s.usual {
			continue
		}
		if !t.Run(fmt.Sprintf("line %d: %s", s.line, s.name), func(t *testing.T) { rests(t, s) }) {
			if err := fleet.Heal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	home(t)
}

func rests(t *testing.T, s restingState) {
	settled(t)
	heard(t)
	do := func() {
		var c crossing
		if s.byHand == nil {
			c = cross(t, nil)
		} else {
			c = crossByHand(t, s.byHand)
		}
		if s.reach != nil {
			s.reach(t, c)
		}
		fleet.Until(t, 2*time.Minute, func() string {
			if m := row(t, c); m.GetState() != s.state {
				return fmt.Sprintf("the move is %s, expected %s: %s%s", m.GetState(), s.state, m.GetWaiting(), m.GetOutcomeReason())
			}
			return ""
		})
		if !took(row(t, c), s.line) {
			t.Errorf("line %d was not seen: %v", s.line, row(t, c).GetSteps())
		}
		if err := fleet.HealLinks(t.Context()); err != nil {
			t.Fatal(err)
		}
		ended(t, s, c)
	}
	if s.hurts {
		do()
	} else {
		fleet.Watched(t, 2*time.Second, do)
	}
	finishedWithReasons(t)
}

// ended waits until the guest is where the resting state leaves it, and lets one
// that has ended begin again on its source.
func ended(t *testing.T, s restingState, c crossing) {
	t.Helper()
	if s.at == "" {
		fleet.Until(t, time.Minute, func() string {
			if claim := claimOf(t, c.guest); claim != nil || len(copiesOf(t, c.guest)) > 0 {
				return fmt.Sprintf("the claim of a guest that has ended is %v, its processes are on %v", claim, copiesOf(t, c.guest))
			}
			return ""
		})
		virsh(t, c.a, "start", c.guest)
	}
	settled(t)
	want := map[string]string{"a": c.a, "b": c.b, "": c.a}[s.at]
	if host, wrong := runsOnce(t, c.guest); wrong != "" || host != want {
		t.Errorf("%s is on %q, expected %s: %s", c.guest, host, want, wrong)
	}
	if s.line == 11 { // two copies have written on one disk
		restarted(t, c.a, c.guest)
		settled(t)
	}
}

// took says whether a step of the move was taken by that line.
func took(m *managerv1.Migration, line int) bool {
	return slices.ContainsFunc(m.GetSteps(), func(s *managerv1.Step) bool {
		return strings.Contains(s.GetDetail(), fmt.Sprintf("(line %d)", line))
	})
}
