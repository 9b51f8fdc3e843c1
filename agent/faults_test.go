package agent

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/migration"
)

// fault is one thing that goes wrong, and its end.
type fault struct {
	name string
	// ends: the guest may end of it, and is not missed then.
	ends bool
	do   func(w *world, b *boss, later func(func()))
}

func faultsOf(host string) []fault {
	return []fault{
		{"agent of " + host + " killed", false, func(w *world, b *boss, later func(func())) {
			s := w.hosts[host]
			s.kill()
			later(func() {
				if s.core == nil {
					s.start()
					if !b.away {
						s.open(b.term())
					}
				}
			})
		}},
		{"libvirtd of " + host + " killed", false, func(w *world, _ *boss, later func(func())) {
			w.hosts[host].host.KillLibvirtd()
			later(w.hosts[host].host.StartLibvirtd)
		}},
		{"libvirtd of " + host + " frozen", false, func(w *world, _ *boss, later func(func())) {
			w.hosts[host].host.Freeze()
			later(w.hosts[host].host.Thaw)
		}},
		{"session of " + host + " cut", false, func(w *world, b *boss, later func(func())) {
			s := w.hosts[host]
			s.close()
			later(func() {
				if s.core != nil && !b.away && s.session == "" {
					s.open(b.term())
				}
			})
		}},
		{"journal of " + host + " full", false, func(w *world, _ *boss, later func(func())) {
			w.hosts[host].fail = errors.New("no space left on device")
			later(func() { w.hosts[host].fail = nil })
		}},
		{"process on " + host + " killed", true, func(w *world, _ *boss, _ func(func())) {
			w.hosts[host].host.KillQEMU(guest)
		}},
	}
}

var faultsOfAll = []fault{
	{"manager away", false, func(_ *world, b *boss, later func(func())) {
		if !b.away {
			b.leave()
			later(b.back)
		}
	}},
	{"link cut", false, func(w *world, _ *boss, later func(func())) {
		w.fleet.Cut(w.hosts["A"].host, w.hosts["B"].host)
		later(func() { w.fleet.Mend(w.hosts["A"].host, w.hosts["B"].host) })
	}},
	{"finish lost", false, func(w *world, _ *boss, _ func(func())) { w.fleet.LoseFinish(guest) }},
	{"abort asked", false, func(_ *world, b *boss, _ func(func())) { b.row.AbortReason = "an operator asked" }},
	{"owner shuts it down", true, func(w *world, _ *boss, _ func(func())) { w.hosts["A"].host.PowerOff(guest) }},
}

// term is the manager's present one.
func (b *boss) term() uint64 {
	var t uint64 = 1
	for _, s := range b.w.hosts {
		t = max(t, s.term)
	}
	return t
}

// Seeds of the random test; the dangerous moments are the last steps of a move,
// so most faults come at the beginning of a phase or a little after.
const faultSeeds = 250

// Whatever goes wrong in a move, up to three things at a time: the guest never
// runs twice, old memory is never woken, a guest that nobody ended is never lost
// and, when all is well again, every move ends, or waits for a person where
// nobody can know.
func TestRandomFaults(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(faultSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { ends[randomFaults(t, seed)]++ })
	}
	t.Logf("how they ended: %v", ends)
	for _, want := range []migration.State{migration.Done, migration.RolledBack, migration.Failed} {
		if ends[string(want)] == 0 {
			t.Errorf("no move ended %s: the faults do not reach far enough", want)
		}
	}
}

func randomFaults(t *testing.T, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, "A", "B")
	w.boot("A")
	b := newBoss(w, "A", "B")
	all := append(append(faultsOf("A"), faultsOf("B")...), faultsOfAll...)
	phases := []virttest.Phase{
		virttest.Preparing, virttest.Transferring, virttest.Stopped, virttest.Complete, virttest.Finishing,
		virttest.Finished, virttest.Confirmed, virttest.Exited, virttest.Returned,
	}
	mayEnd := false
	healed := w.fleet.Now()
	var due []timedFault
	plan := func(at time.Duration, do func()) {
		due = append(due, timedFault{at, do})
		healed = max(healed, at)
	}
	w.after = append(w.after, func() {
		for i := 0; i < len(due); i++ {
			if due[i].at <= w.fleet.Now() {
				do := due[i].do
				due = append(due[:i], due[i+1:]...)
				do()
				i = -1
			}
		}
	})
	for range 1 + r.IntN(3) {
		f := all[r.IntN(len(all))]
		mayEnd = mayEnd || f.ends
		wait := time.Duration(r.Int64N(int64(40 * time.Millisecond)))
		if r.IntN(3) == 0 {
			wait = 0
		}
		lasts := time.Duration(float64(50*time.Millisecond) * float64(int(1)<<r.IntN(11)))
		begin := func() {
			w.logf("FAULT %s for %s", f.name, lasts)
			f.do(w, b, func(heal func()) {
				plan(w.fleet.Now()+lasts, func() { w.logf("HEALED %s", f.name); heal() })
			})
		}
		if r.IntN(4) == 0 {
			plan(w.fleet.Now()+time.Duration(r.Int64N(int64(2500*time.Millisecond))), begin)
			continue
		}
		phase := phases[r.IntN(len(phases))]
		w.fleet.At(guest, phase, func() { plan(w.fleet.Now()+wait, begin) })
	}
	over := func() bool {
		return b.row.State.Ended() || b.state == migration.Unclear && len(due) == 0 && w.fleet.Now() > healed+3*time.Minute
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("row %s: %s %s", b.row.State, b.state, b.why)
		}
	})
	w.until("the move is over", over)
	w.until("all is well again", func() bool { return len(due) == 0 })
	w.pass(time.Second)
	on := w.fleet.RunningOn(guest)
	switch {
	case !b.row.State.Ended():
		if len(on) > 0 {
			t.Errorf("unclear (%s), and runs on %v", b.why, on)
		}
		return "unclear"
	case b.row.State == migration.Failed:
		if !mayEnd || len(on) > 0 {
			t.Errorf("failed (%s), nobody ended it, runs on %v", b.row.Outcome, on)
		}
	case len(on) == 0 && mayEnd: // it ended after the move had
	default:
		b.rightly()
	}
	return string(b.row.State)
}

type timedFault struct {
	at time.Duration
	do func()
}
