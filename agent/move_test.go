package agent

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/migration"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files in testdata anew")

// scenario is one story of a move, told by its golden file.
type scenario struct {
	name  string
	setup func(w *world) // before the manager begins
	story func(w *world, b *boss)
	state migration.State
	end   migration.End // "" when the claim never moved
	none  bool          // the guest has ended, and rightly so
}

var scenarios = []scenario{
	{name: "move", state: migration.Done, end: migration.HeldByTarget},
	{
		name: "paused by its owner", state: migration.Done, end: migration.HeldByTarget, none: true,
		setup: func(w *world) { must(w.t, w.hosts["A"].conn().Suspend(w.t.Context(), guest)) },
	},
	{
		name: "target defines another guest of that name", state: migration.RolledBack, end: migration.HeldBySource,
		setup: func(w *world) {
			_, err := w.hosts["B"].conn().Define(w.t.Context(), guestXML("g1", "99999999-2222-3333-4444-555555555501"))
			must(w.t, err)
		},
		story: func(w *world, b *boss) {
			w.until("refused", func() bool { return w.hosts["B"].results["o1"] != nil || b.row.State.Ended() })
			b.row.AbortReason = "the target refuses"
		},
	},
	{
		name: "abort", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.until("it transfers", b.transfers)
			b.row.AbortReason = "an operator asked"
		},
	},
	{
		name: "finish lost", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.fleet.At(guest, virttest.Complete, func() { w.fleet.LoseFinish(guest) })
		},
	},
	{
		name: "libvirtd of the source killed after its last word", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.fleet.At(guest, virttest.Finishing, func() { w.hosts["A"].host.KillLibvirtd() })
			w.pass(3 * time.Second)
			w.hosts["A"].host.StartLibvirtd()
		},
	},
	{
		name: "libvirtd of the target killed inside finish", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.fleet.At(guest, virttest.Finishing, func() { w.hosts["B"].host.KillLibvirtd() })
			w.pass(3 * time.Second)
			w.hosts["B"].host.StartLibvirtd()
		},
	},
	{
		name: "libvirtd of the target frozen", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.fleet.At(guest, virttest.Complete, func() { w.hosts["B"].host.Freeze() })
			w.pass(40 * time.Second)
			w.hosts["B"].host.Thaw()
		},
	},
	{
		name: "guest killed on the source", state: migration.Failed, end: migration.Released, none: true,
		story: func(w *world, b *boss) {
			w.until("it transfers", b.transfers)
			w.hosts["A"].host.KillQEMU(guest)
		},
	},
	{
		name: "copy killed on the target", state: migration.RolledBack, end: migration.HeldBySource,
		story: func(w *world, b *boss) {
			w.until("it transfers", b.transfers)
			w.hosts["B"].host.KillQEMU(guest)
		},
	},
	{
		name: "owner shuts the guest down", state: migration.Failed, end: migration.Released, none: true,
		story: func(w *world, b *boss) {
			w.until("it transfers", b.transfers)
			w.hosts["A"].host.PowerOff(guest)
		},
	},
	{
		name: "manager away", state: migration.Done, end: migration.HeldByTarget,
		story: func(w *world, b *boss) {
			w.until("it transfers", b.transfers)
			b.leave()
			w.until("the guest runs on the target", func() bool { return fmt.Sprint(w.fleet.RunningOn(guest)) == "[B]" || b.row.State.Ended() })
			w.pass(5 * time.Second)
			b.back()
		},
	},
	{
		name: "manager restarted at the switch", state: migration.Done, end: migration.HeldByTarget,
		story: func(w *world, b *boss) {
			w.until("stopped", func() bool { return w.hosts["A"].sees().GetStoppedAt() != nil || b.row.State.Ended() })
			b.leave()
			w.pass(300 * time.Millisecond)
			b.back()
		},
	},
}

// transfers says whether the migration is under way, or was.
func (b *boss) transfers() bool {
	return b.w.hosts["A"].sees().GetJob() != nil || b.row.State.Ended()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leave is the manager going away, back its return with a newer term.
func (b *boss) leave() {
	b.away = true
	for _, n := range b.w.names {
		b.w.hosts[n].close()
	}
}

func (b *boss) back() {
	b.away = false
	for _, n := range b.w.names {
		if s := b.w.hosts[n]; s.core != nil {
			s.open(s.term + 1)
		}
	}
}

func play(t *testing.T, sc scenario, edit func(w *world, b *boss)) (*world, *boss) {
	t.Helper()
	w := newWorld(t, "A", "B")
	w.boot("A")
	if sc.setup != nil {
		sc.setup(w)
		w.pass(10 * time.Millisecond)
	}
	b := newBoss(w, "A", "B")
	if edit != nil {
		edit(w, b)
	}
	if sc.story != nil {
		sc.story(w, b)
	}
	w.until("the move is over", func() bool { return b.row.State.Ended() })
	return w, b
}

// ended checks how a scenario must end, whatever else happened.
func (sc scenario) ended(t *testing.T, w *world, b *boss) {
	t.Helper()
	if b.row.State != sc.state || b.end != sc.end {
		t.Errorf("row is %s (%s), claim %s; want %s, claim %s", b.row.State, b.row.Outcome, b.end, sc.state, sc.end)
	}
	if sc.none {
		if on := w.fleet.RunningOn(guest); len(on) > 0 {
			t.Errorf("runs on %v, want nowhere", on)
		}
		return
	}
	b.rightly()
}

func TestScenarios(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			w, b := play(t, sc, nil)
			sc.ended(t, w, b)
			golden(t, strings.ReplaceAll(sc.name, " ", "-"), w.story())
		})
	}
}

// story is the trace without the agents' logs, which may be worded anew.
func (w *world) story() string {
	var out strings.Builder
	for _, line := range w.trace {
		if !strings.Contains(line, ": log ") {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *rewrite {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(have), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if have != string(want) {
		t.Errorf("the story has changed; -rewrite and read the diff of %s. Now:\n%s", path, have)
	}
}

// Every order is given twice, under two ids: the second one changes nothing.
func TestEveryOrderTwice(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			w, b := play(t, sc, func(_ *world, b *boss) { b.twice = true })
			sc.ended(t, w, b)
		})
	}
}

// The agent of either host is killed at each of its journal writes, just before
// and just after it, and comes back while libvirt has gone on. The move may end
// the other way, but it ends, rightly, and never in two copies.
func TestAgentKilledAtEachWrite(t *testing.T) {
	for _, sc := range scenarios {
		for _, host := range []string{"A", "B"} {
			for _, before := range []bool{true, false} {
				for at := 1; ; at++ {
					died := false
					name := fmt.Sprintf("%s/%s/before=%t/%d", sc.name, host, before, at)
					t.Run(name, func(t *testing.T) {
						w, b := play(t, sc, func(w *world, b *boss) {
							s := w.hosts[host]
							s.dieAt, s.dieBefore = s.writes+at, before
							b.revive(host, &died)
						})
						other := sc
						if b.row.State == migration.RolledBack {
							other.state, other.end = migration.RolledBack, migration.HeldBySource
						}
						other.ended(t, w, b)
					})
					if !died || t.Failed() {
						break
					}
				}
			}
		}
	}
}

// revive starts a killed agent again after 300 ms.
func (b *boss) revive(host string, died *bool) {
	w, s := b.w, b.w.hosts[host]
	var at time.Duration
	w.after = append(w.after, func() {
		switch {
		case s.core != nil:
		case at == 0:
			*died = true
			at = w.fleet.Now() + 300*time.Millisecond
		case w.fleet.Now() >= at:
			at = 0
			s.dieAt = 0
			s.start()
			if !b.away {
				s.open(s.term)
			}
		}
	})
}
