package migration

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// world is two hosts as libvirt and the agents make them, small enough to read:
// one guest, one attempt, and the faults that DESIGN.md's table is for.
type world struct {
	rng  *rand.Rand
	row  Row
	a, b Copy // the truth
	log  []string

	seenA, seenB Copy // what the manager was last told; Unknown while a side is silent
	crashed      bool // the target's complete copy was killed: an ordinary crash, the guest may end
	stoppedByUs  bool // the source's process was stopped by the move and has not run since
}

func newWorld(seed uint64, kind Switchover) *world {
	return &world{
		rng: rand.New(rand.NewPCG(seed, 1)),
		row: Row{ID: "t1", State: Claimed, Switchover: kind, Before: Before{Persistent: true}},
		a:   Copy{Presence: Alive, Settled: false},
		b:   Copy{Presence: None},
	}
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// libvirt takes one step of the copying by itself.
func (w *world) libvirt() {
	if w.a.Call != CallOut {
		if w.a.Presence == None && !w.a.Settled && w.row.State == Committing {
			return
		}
		return
	}
	switch {
	case w.a.Presence == Alive && w.b.Presence == None && w.a.Job:
		w.b.Presence, w.b.Pause, w.b.Job = Paused, ByGuard, true
		w.note("libvirt: the target receives")
	case w.a.Presence == Alive && w.a.Job:
		w.a.Presence, w.a.Pause = Paused, ByMove
		w.stoppedByUs = true
		w.note("libvirt: stopped on the source")
	case w.a.Presence == Paused && w.b.Job:
		w.b.Complete, w.b.Job, w.a.Job = true, false, false
		w.note("libvirt: complete on the target")
	case w.a.Presence == Paused && !w.b.Job:
		w.sourceExits()
	case w.a.Presence == None:
		w.a.Call = CallEnded
		w.note("libvirt: the call returns")
	}
}

func (w *world) sourceExits() {
	w.a.Presence, w.a.Pause = None, ""
	w.a.Gone = GoneOtherwise
	if w.stoppedByUs {
		w.a.Gone = GoneByMove
	}
	w.note("source: process gone %s", w.a.Gone)
}

// fault does one of the things that happen.
func (w *world) fault() {
	switch w.rng.IntN(6) {
	case 0: // Finish is lost: libvirt resumes the source although the target is complete
		if w.a.Call == CallOut && w.a.Presence == Paused {
			w.a.Presence, w.a.Pause, w.a.Job, w.stoppedByUs = Alive, "", false, false
			w.a.Call = CallEnded
			w.b.Job = false
			w.b.Complete = true
			w.note("fault: finish lost, the source runs on")
		}
	case 1: // the transfer breaks early
		if w.a.Call == CallOut && w.a.Presence == Alive {
			w.a.Job, w.a.Call = false, CallEnded
			w.b = Copy{Presence: None, Prepared: w.b.Prepared, Void: w.b.Void}
			w.note("fault: the transfer breaks")
		}
	case 2: // perform3_done stays paused
		if w.a.Call == CallOut && w.a.Presence == Paused && w.b.Complete {
			w.a.Call, w.a.Job = CallEnded, false
			w.note("fault: the source's libvirtd is killed, its copy stays paused")
		}
	case 3: // the owner shuts the guest down
		if w.a.Presence == Alive && w.a.Call != CallOut {
			w.a.Presence, w.a.Gone = None, GoneOtherwise
			w.note("fault: the guest is shut down on the source")
		}
	case 4:
		if w.row.AbortReason == "" {
			w.row.AbortReason = "asked to stop"
			w.note("fault: abort asked")
		}
	case 5:
		if w.b.Presence == Paused && !w.b.Job && w.row.State != Committing && w.rng.IntN(4) == 0 && w.a.Presence != None {
			w.b = Copy{Presence: None, Void: w.b.Void, Prepared: w.b.Prepared}
			w.crashed = true
			w.note("fault: the target's copy is killed")
		}
	}
}

// obey is what the agents do with an order.
func (w *world) obey(act Action) {
	w.note("order: %s to %s (line %d)", act.Order, act.To, act.Line)
	switch act.Order {
	case Prepare:
		w.b.Prepared = !w.b.Void
	case Move:
		if w.a.Void || w.a.Presence != Alive {
			w.a.Void, w.a.Call = true, CallEnded
		} else if w.a.Call == NotCalled {
			w.a.Call, w.a.Job = CallOut, true
		}
	case Abort:
		if w.a.Call == CallOut && w.a.Presence == Alive {
			w.a.Call, w.a.Job = CallEnded, false
			w.b = Copy{Presence: None, Prepared: true, Void: w.b.Void}
		}
	case Void:
		w.void(act.To)
	case ResumeOwn:
		if w.a.Void && w.a.Presence == Paused {
			w.a.Presence, w.a.Pause, w.stoppedByUs = Alive, "", false
		}
	case DestroyOwn:
		if w.a.Presence == Paused {
			w.sourceExits()
			w.a.Gone = GoneByMove
		}
	case Resume:
		if w.b.Presence == Paused && !w.b.Void {
			w.b.Presence, w.b.Pause, w.b.Moving = Alive, "", true
		}
	case Settle:
		if act.To == Target {
			w.b.Settled = true
		} else {
			w.a.Settled = true
		}
	}
}

func (w *world) void(side Side) {
	if side == Target {
		w.b.Void = true
		if w.b.Presence == Paused {
			w.b = Copy{Presence: None, Void: true, Prepared: w.b.Prepared}
		}
		return
	}
	if w.a.Presence == None && w.a.Gone == GoneByMove {
		return // refused
	}
	if w.a.Call == CallOut {
		return // not before the call has ended
	}
	w.a.Void, w.a.Call = true, CallEnded
}

// tell lets the manager see a side, or not.
func (w *world) tell(lossy bool) {
	if !lossy || w.rng.IntN(3) > 0 {
		w.seenA = w.a
	} else {
		w.seenA = Copy{}
	}
	if !lossy || w.rng.IntN(3) > 0 {
		w.seenB = w.b
		w.seenB.Fresh = true
	} else {
		w.seenB = Copy{}
	}
}

// step is one pass of the manager.
func (w *world) step() Action {
	act := Next(w.row, w.seenA, w.seenB)
	switch act.Do {
	case Tell:
		w.row.State = act.State
		if w.rng.IntN(5) > 0 { // else the order is lost
			w.obey(act)
		}
	case Commit:
		w.note("commit: %s (line %d)", act.End, act.Line)
		w.row.State = act.State
	case Finish:
		w.row.State = act.State
	case Wait, Ask:
		w.row.State = act.State
	}
	return act
}

// TestNextWalks drives the real Next through thousands of small worlds with
// faults, lost orders and silent sides. The guest never runs twice, no running
// or last good copy is lost by an order, and once the faults stop the row ends.
func TestNextWalks(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(20000) {
		w := newWorld(seed, Guarded)
		ended := false
		for pass := range 400 {
			quiet := pass > 200
			w.libvirt()
			if !quiet && w.rng.IntN(4) == 0 {
				w.fault()
			}
			w.tell(!quiet)
			act := w.step()
			if w.a.Presence == Alive && w.b.Presence == Alive {
				w.fail(t, seed, "the guest runs twice")
			}
			if w.row.State.Ended() {
				ends[string(w.row.State)]++
				ended = true
				break
			}
			if act.End == Person || act.End == Ambiguous {
				w.fail(t, seed, "none of these worlds needs a person")
			}
		}
		if !ended {
			w.fail(t, seed, "the move never ends")
		}
		running := w.a.Presence == Alive || w.b.Presence == Alive
		switch {
		case w.row.State == Done && w.b.Presence != Alive:
			w.fail(t, seed, "done, but it does not run on the target")
		case w.row.State == RolledBack && w.a.Presence != Alive && w.a.Gone != GoneOtherwise:
			w.fail(t, seed, "rolled back, but it does not run on the source")
		case !running && !w.crashed && w.a.Gone != GoneOtherwise:
			w.fail(t, seed, "the guest is lost")
		}
	}
	for _, state := range []State{Done, RolledBack, Failed} {
		if ends[string(state)] == 0 {
			t.Errorf("no walk ended %s: the worlds are too tame", state)
		}
	}
}

func (w *world) fail(t *testing.T, seed uint64, why string) {
	t.Helper()
	for _, line := range w.log[max(0, len(w.log)-30):] {
		t.Log(line)
	}
	t.Fatalf("seed %d: %s\nrow %s abort %q\nsource %+v\ntarget %+v", seed, why, w.row.State, w.row.AbortReason, w.a, w.b)
}
