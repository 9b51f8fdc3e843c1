package agent

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// TestConfirmEndsAnArrival: a manager whose store was restored knows nothing of the
// move that brought the guest, and speaks of the next one.
func TestConfirmEndsAnArrival(t *testing.T) {
	_, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	if d := b.sees(); d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("attempt %s is %s", d.GetAttempt(), d.GetAttemptState())
	}
	b.mustSay(t, doneOutcome, "", say(14, "m2", &agentv1.Void{}))
	if d := b.sees(); d.GetAttempt() != "m2" || d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("attempt %s is %s", d.GetAttempt(), d.GetAttemptState())
	}
}

// TestReleaseWaitsForTheCall: an attempt is closed when nothing of it can happen
// any more, and its call takes the definition away last.
func TestReleaseWaitsForTheCall(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("gone by the move", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	if a.sees().GetCall() != agentv1.Call_CALL_OUT {
		t.Fatalf("the call is %s", a.sees().GetCall())
	}
	a.mustSay(t, refusedOutcome, "is out", say(12, "", &agentv1.Release{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Release{}))
}

func TestResume(t *testing.T) {
	w, a, b := arrive(t)
	b.mustSay(t, refusedOutcome, "not prepared here", say(12, "m9", &agentv1.Resume{}))
	a.mustSay(t, refusedOutcome, "not prepared here", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{})) // it runs already
	b.mustSay(t, refusedOutcome, "the copy is running", say(12, "m1", &agentv1.Void{}))
	first := b.sees().GetCpuTime().AsDuration()
	w.until("its CPU time grows", func() bool { return b.sees().GetCpuTime().AsDuration() > first })
	if b.sees().GetResumedAt() == nil {
		t.Error("no resumed_at")
	}
	// Its owner pauses it: from now on nobody but the owner wakes it.
	must(t, b.conn().Suspend(t.Context(), guest))
	w.until("paused by its owner", func() bool { return b.sees().GetPause() == agentv1.Pause_PAUSE_OWNER })
	b.mustSay(t, refusedOutcome, "paused by somebody", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, refusedOutcome, "has run here", say(12, "m1", &agentv1.Void{}))
}

func TestResumeOfAVoidCopyIsRefused(t *testing.T) {
	w, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "void", say(13, "m1", &agentv1.Resume{}))
	w.until("the copy is gone", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_SHUTOFF })
	b.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Void{}))
	b.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Settle{}))
	if s := b.sees().GetState(); s != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("after settling: %s, want nothing left", s)
	}
}

func TestSettleLeavesWhatStoodBefore(t *testing.T) {
	w, a, b := stage(t)
	_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if d, err := b.conn().Domain(t.Context(), guest); err != nil || !d.Persistent {
		t.Errorf("the definition that stood before is gone: %v", err)
	}
	b.mustSay(t, refusedOutcome, "nothing is known here of attempt m7", say(12, "m7", &agentv1.Settle{}))
	// A host whose guest has not left keeps its definition.
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "a process of the domain is here", say(12, "m1", &agentv1.Settle{}))
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	w.settle()
	a.mustSay(t, refusedOutcome, "removed by hand", say(12, "m1", &agentv1.Settle{}))
	if d, err := a.conn().Domain(t.Context(), guest); err != nil || !d.Persistent {
		t.Errorf("the guest's own definition is gone: %v", err)
	}
}

func TestSettleDefinesAndCleans(t *testing.T) {
	w, a, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	marked, err := virt.DestXML(guestXML("g1", guest), "m1")
	must(t, err)
	_, err = b.conn().Define(t.Context(), marked) // a definition must not look like an incoming copy
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{Keep: true, Autostart: true}))
	xml, err := b.conn().XML(t.Context(), guest, virt.XMLFlags{Inactive: true})
	must(t, err)
	if id, err := virt.AttemptOf(xml); err != nil || id != "" {
		t.Errorf("the kept definition carries attempt %q (%v)", id, err)
	}
	must(t, b.conn().Undefine(t.Context(), guest, virt.UndefineOpts{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{Keep: true, Autostart: true, Definition: marked}))
	d, err := b.conn().Domain(t.Context(), guest)
	must(t, err)
	if !d.Persistent || !d.Autostart {
		t.Errorf("persistent %t autostart %t, want both", d.Persistent, d.Autostart)
	}
	if p := b.sees(); p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_HELD || p.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("%s, attempt %s; want held, ended", p.GetPhase(), p.GetAttemptState())
	}
	a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if p := a.sees(); p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_RELEASED || p.GetState() != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("source: %s, %s; want released, none", p.GetPhase(), p.GetState())
	}
	w.pass(time.Second)
}

func TestReleaseNeedsNoProcess(t *testing.T) {
	w, a, _ := stage(t)
	a.mustSay(t, refusedOutcome, "a process of the domain is here", say(11, "", &agentv1.Release{}))
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	w.settle()
	a.mustSay(t, doneOutcome, "", say(11, "", &agentv1.Release{}))
	if d := a.core.domains[guest]; d.Phase != journal.Released || d.Confirmed {
		t.Errorf("%+v, want released", d.Domain)
	}
}

// TestSettleOfALostJournalIsRefused: a definition stays, and it is said, so that
// nobody waits for it to go.
func TestSettleOfALostJournalIsRefused(t *testing.T) {
	_, _, b := stage(t)
	_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "removed by hand", say(13, "m1", &agentv1.Settle{}))
}
