//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
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
			fleet.Until(t, time.Minute, func() string {
				_, err := fleet.Virsh(t.Context(), c.b, "resume", c.guest)
				return words(err)
			})
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
	long := os.Getenv("VIREO_LONG") != ""
	for _, s := range restingStates {
		if !long && !s.usual {
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
		c := on(t, s)
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

// on begins the move of a resting state.
func on(t *testing.T, s restingState) crossing {
	t.Helper()
	if s.byHand == nil {
		return cross(t, nil)
	}
	c := crossing{guest: fleet.Guests[0].Name}
	var wrong string
	if c.a, wrong = runsOnce(t, c.guest); wrong != "" {
		t.Fatal(wrong)
	}
	c.b = fleet.Hosts[0].Name
	if c.b == c.a {
		c.b = fleet.Hosts[1].Name
	}
	if err := fleet.Shape(t.Context(), c.a, c.b, copying); err != nil {
		t.Fatal(err)
	}
	go func() {
		args := append([]string{"migrate", "--live", "--p2p"}, s.byHand...)
		_, _ = fleet.Virsh(context.WithoutCancel(t.Context()), c.a, append(args, c.guest, "qemu+tcp://"+c.b+"/system")...)
	}()
	fleet.Until(t, 30*time.Second, func() string {
		moves := ask(t, &managerv1.ListMigrationsResponse{}, "migrations", "--open")
		for _, m := range moves.Migrations {
			if m.DomainName == c.guest {
				c.id = m.Id
				return ""
			}
		}
		return "nothing is known of a migration by hand"
	})
	return c
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

// copied waits until libvirt has copied some memory.
func copied(t *testing.T, c crossing) {
	t.Helper()
	quickly(t, func() bool { return job(t, c).processed })
}

// jobNow is what the source's libvirt says of its job: whether some memory has gone
// over, whether little is left, and whether there is no job.
type jobNow struct{ processed, little, over bool }

func job(t *testing.T, c crossing) (j jobNow) {
	t.Helper()
	out, err := fleet.Virsh(t.Context(), c.a, "domjobinfo", c.guest)
	for line := range strings.Lines(out) {
		if of, ok := strings.CutPrefix(line, "Memory processed:"); ok {
			j.processed = !strings.HasPrefix(strings.TrimSpace(of), "0.000")
		}
		if of, ok := strings.CutPrefix(line, "Memory remaining:"); ok {
			f := strings.Fields(of)
			mib, err := strconv.ParseFloat(f[0], 64)
			j.little = err == nil && (f[1] != "MiB" || mib < 40)
		}
	}
	j.over = err == nil && jobType(out) == "None"
	return j
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

func isState(t *testing.T, host, guest, state string) {
	t.Helper()
	fleet.Until(t, time.Minute, func() string {
		out, err := fleet.Virsh(t.Context(), host, "domstate", guest)
		if now := strings.TrimSpace(out); err != nil || now != state {
			return fmt.Sprintf("%s is %q on %s, expected it %s: %v", guest, now, host, state, err)
		}
		return ""
	})
}

func goOn(t *testing.T, machine, service string) {
	t.Helper()
	if err := fleet.Signal(t.Context(), machine, service, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func virsh(t *testing.T, host string, args ...string) {
	t.Helper()
	if out, err := fleet.Virsh(t.Context(), host, args...); err != nil {
		t.Fatalf("virsh %s on %s: %s %v", strings.Join(args, " "), host, out, err)
	}
}

func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
