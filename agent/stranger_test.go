package agent

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// TestStrangerIsComplete: what the target's agent remembers of attempts long ago
// does not hide that the copy of a forgotten one is complete.
func TestStrangerIsComplete(t *testing.T) {
	for name, old := range map[string]*journal.Attempt{
		"none":               nil,
		"one that came":      {ID: "m0", Role: journal.Target, Stage: journal.Ended, Arrival: &journal.Arrival{Complete: true, Resumed: true}},
		"one that was void":  {ID: "m0", Role: journal.Target, Stage: journal.Void, Arrival: &journal.Arrival{}},
		"only that one void": {ID: "m0", Stage: journal.Void},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, b := arrive(t)
			b.kill()
			b.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
			b.start()
			b.core.domain(guest).Attempt = old
			b.open(5)
			if d := b.sees(); d.GetPause() != agentv1.Pause_PAUSE_UNSPECIFIED || !d.GetComplete() {
				t.Errorf("pause %s, complete %t: want nobody's, and complete", d.GetPause(), d.GetComplete())
			}
			b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
		})
	}
}

// TestVoidOfWhatIsHeld: the journal of the arrival is lost, the claim has been
// confirmed since, and the owner pauses the guest. A void that comes late does not
// take it for a copy that has never run.
func TestVoidOfWhatIsHeld(t *testing.T) {
	w, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.kill()
	b.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
	b.start()
	b.open(5)
	b.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	if err := b.conn().Suspend(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	b.mustSay(t, refusedOutcome, "holds the claim", say(13, "m1", &agentv1.Void{}))
	if n := len(w.fleet.Guests()); n != 1 {
		t.Errorf("%d processes, want the guest's", n)
	}
}

// TestOldDepartureHidesNothing: an older copy of the journal has brought a
// departure of long ago back. A newer attempt is void all the same, and can be
// seen to be; one that may still be under way comes first.
func TestOldDepartureHidesNothing(t *testing.T) {
	old := func(call journal.Call, gone journal.Gone) *journal.Attempt {
		return &journal.Attempt{ID: "m0", Role: journal.Source, Stage: journal.Started, Departure: &journal.Departure{Target: "C", Call: call, Gone: gone}}
	}
	for name, tt := range map[string]struct {
		old   *journal.Attempt
		epoch uint64
		want  agentv1.Outcome
		shown string
	}{
		"its guest went":          {old(journal.CallEnded, journal.NobodyKnows), 12, doneOutcome, "m1"},
		"its guest stayed":        {old(journal.CallEnded, ""), 12, doneOutcome, "m1"},
		"its call may be out":     {old(journal.CallOut, ""), 12, refusedOutcome, "m0"},
		"it is the latest itself": {old(journal.CallEnded, journal.ByTheMove), 10, doneOutcome, "m0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, a, _ := stage(t)
			a.core.domain(guest).Attempt = tt.old
			r := a.order(say(tt.epoch, "m1", &agentv1.Void{}))
			if r.GetOutcome() != tt.want {
				t.Errorf("%v, want %s", r, tt.want)
			}
			a.core.sight(a.core.domain(guest))
			if got := a.sees().GetAttempt(); got != tt.shown {
				t.Errorf("shows attempt %q, want %q", got, tt.shown)
			}
			if tt.want == doneOutcome && !a.core.domain(guest).IsVoid("m1") {
				t.Error("m1 is not void")
			}
		})
	}
}

// TestConfirmClosesWhatHasStayed: the same departure does not keep the guest from
// being moved once the leader has confirmed its claim.
func TestConfirmClosesWhatHasStayed(t *testing.T) {
	_, a, b := stage(t)
	a.core.domain(guest).Attempt = &journal.Attempt{ID: "m0", Role: journal.Source, Stage: journal.Started, Departure: &journal.Departure{Target: "C", Call: journal.CallEnded}}
	a.mustSay(t, doneOutcome, "", say(11, "", &agentv1.Confirm{}))
	if !a.core.domain(guest).IsVoid("m0") {
		t.Error("m0 may still be resumed")
	}
	b.mustSay(t, doneOutcome, "", say(12, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(12, "m1", a.moves()))
}

// TestReleaseEndsAReservation: the leader knows of no move, so nobody would follow
// a copy that comes yet.
func TestReleaseEndsAReservation(t *testing.T) {
	_, _, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	b.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Release{}))
	if got := b.sees().GetAttemptState(); got != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("the attempt is %s", got)
	}
}

// TestReportWaitsForAnOrdersLook: a report whose last missing look is one that an
// order takes, goes out with it; also when libvirt does not answer the order.
func TestReportWaitsForAnOrdersLook(t *testing.T) {
	for name, answers := range map[string]bool{"libvirt answers": true, "libvirt does not answer": false} {
		t.Run(name, func(t *testing.T) {
			w, _, b := stage(t)
			w.pass(time.Second)
			n := len(b.reports)
			d := b.core.domain(guest)
			b.do(func() {
				b.core.step++
				d.touched, b.core.reports.made = b.core.step, true
			})
			if !answers {
				b.host.Freeze()
			}
			b.order(say(11, "m9", &agentv1.Void{}))
			b.host.Thaw()
			w.pass(3 * time.Second)
			if len(b.reports) == n {
				t.Error("the report does not come")
			}
		})
	}
}

// TestSettleLeavesASavedGuest: libvirt removes no definition with a managed save
// image, and the image is somebody's memory.
func TestSettleLeavesASavedGuest(t *testing.T) {
	w, a, _ := arrive(t)
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	if _, err := a.conn().Define(t.Context(), guestXML("g1", guest)); err != nil {
		t.Fatal(err)
	}
	a.host.SetManagedSave(guest, true)
	w.pass(time.Second)
	a.mustSay(t, refusedOutcome, "managed save image", say(12, "m1", &agentv1.Settle{}))
}

// TestResumeOwnOfALostJournal: a move has left the source's guest stopped, and its
// agent has forgotten the move. Once the attempt is void libvirt's own word is
// enough to let the guest run on; what its owner has paused stays paused.
func TestResumeOwnOfALostJournal(t *testing.T) {
	for name, owner := range map[string]bool{"stopped by the move": false, "paused by its owner": true} {
		t.Run(name, func(t *testing.T) {
			w, a, b := stage(t)
			if owner {
				if err := a.conn().Suspend(t.Context(), guest); err != nil {
					t.Fatal(err)
				}
			}
			b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
			a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
			w.until("it transfers", func() bool { return a.sees().GetJob() != nil })
			w.fleet.KeepSource(guest)
			w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
			a.kill()
			a.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
			a.start()
			a.core.domain(guest).Attempt = nil
			a.open(5)
			w.pass(callMayWait + time.Second)
			a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
			want, why := doneOutcome, ""
			if owner {
				want, why = refusedOutcome, "not paused by the move"
			}
			a.mustSay(t, want, why, say(12, "m1", &agentv1.ResumeOwn{}))
			if on := w.fleet.RunningOn(guest); owner != (len(on) == 0) {
				t.Errorf("runs on %v", on)
			}
		})
	}
}

// TestConfirmMakesNoGuestOfACopy: a leader that has lost its store does not know
// that what is here has never run.
func TestConfirmMakesNoGuestOfACopy(t *testing.T) {
	w, _, b := arrive(t)
	b.mustSay(t, refusedOutcome, "a paused copy of attempt m1 is here", say(12, "", &agentv1.Confirm{}))
	if p := b.sees().GetPause(); p != agentv1.Pause_PAUSE_GUARD {
		t.Errorf("shown as paused by %s", p)
	}
	if err := b.conn().Resume(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	b.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Confirm{}))
}

// TestMoveOfWhatTheHookHasStarted: the agent was slow, the hook has let the guest
// start by itself, and the order to move what had ended comes. What cannot begin is
// void, and the start is seen to be in progress.
func TestMoveOfWhatTheHookHasStarted(t *testing.T) {
	_, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.host.PowerOff(guest)
	if err := journal.LeaveMark(filepath.Join(a.dir, "journal"), journal.Mark{UUID: guest, Name: "g1", At: a.w.now()}); err != nil {
		t.Fatal(err)
	}
	r, seen := a.order(say(11, "m1", a.moves())), false
	for _, m := range a.sent {
		seen = seen || m.GetSighting().GetDomain().GetStartInProgress()
	}
	if r.GetOutcome() != agentv1.Outcome_OUTCOME_FAILED || !a.core.domain(guest).IsVoid("m1") || !seen {
		t.Errorf("%v; a start in progress was shown: %t", r, seen)
	}
}
