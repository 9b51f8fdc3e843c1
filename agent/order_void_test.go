package agent

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

func TestVoidComesBeforeItsAttempt(t *testing.T) {
	_, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "void", say(11, "m1", b.prepares()))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "void", say(11, "m1", a.moves()))
	// It stays void when other attempts have come and gone, and over a restart.
	for i, id := range []string{"m2", "m3"} {
		epoch := uint64(12 + 2*i)
		b.mustSay(t, doneOutcome, "", say(epoch, id, b.prepares()))
		b.mustSay(t, doneOutcome, "", say(epoch, id, &agentv1.Void{}))
	}
	b.kill()
	b.start()
	b.open(5)
	b.mustSay(t, refusedOutcome, "void", say(20, "m1", b.prepares()))
}

func TestMoveThatCantBeginIsVoid(t *testing.T) {
	_, a, _ := stage(t)
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	a.mustSay(t, failedOutcome, "no process", say(11, "m1", a.moves()))
	if s := a.sees().GetAttemptState(); s != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("attempt is %s, want void", s)
	}
}

func TestSourceKeepsWhatHasGoneByTheMove(t *testing.T) {
	_, a, b := arrive(t)
	a.mustSay(t, refusedOutcome, "gone by the move", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "not void", say(11, "m1", &agentv1.ResumeOwn{}))
	b.mustSay(t, refusedOutcome, "not the source", say(11, "m1", &agentv1.DestroyOwn{}))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{})) // gone already, by the move
}

func TestVoidWaitsForTheCall(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	a.mustSay(t, refusedOutcome, "the migrate call is out", say(11, "m1", &agentv1.Void{}))
	w.until("the copy is on its way", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED })
	b.mustSay(t, refusedOutcome, "still at work", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "under way here", say(12, "", &agentv1.Confirm{}))
	a.mustSay(t, refusedOutcome, "is not over", say(13, "m2", a.moves()))
	a.mustSay(t, refusedOutcome, "is the source of attempt m1", say(13, "m2", b.prepares()))
	a.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Abort{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Void{}))
}

func TestAbortTwice(t *testing.T) {
	w, a, b := stage(t)
	a.mustSay(t, refusedOutcome, "not under way", say(11, "m1", &agentv1.Abort{}))
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	if a.sees().GetCallError() == "" {
		t.Error("no reason on the call")
	}
}

// TestWhatIsOverHidesNothing: the guest ended on its way, its claim was given
// up, and it was started again here. A later attempt that can't begin is void,
// and the manager sees that it is.
func TestWhatIsOverHidesNothing(t *testing.T) {
	w, a, _ := arrive(t)
	a.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Release{}))
	if s := a.sees().GetAttemptState(); s != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("after the release the attempt is %s", s)
	}
	w.fleet.Host("B").KillQEMU(guest)
	_, err := a.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	must(t, a.conn().Start(t.Context(), guest))
	w.pass(time.Second)
	a.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	a.mustSay(t, doneOutcome, "", say(14, "m2", &agentv1.Void{}))
	if d := a.sees(); d.GetAttempt() != "m2" || d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("shows attempt %s, %s", d.GetAttempt(), d.GetAttemptState())
	}
}

// TestStartedAgainBehindTheMove: what has gone by the move is the target's,
// until somebody starts the guest on the source again.
func TestStartedAgainBehindTheMove(t *testing.T) {
	w, a, _ := arrive(t)
	a.mustSay(t, refusedOutcome, "gone by the move", say(11, "m1", &agentv1.Void{}))
	_, err := a.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	must(t, a.conn().Start(t.Context(), guest))
	w.pass(time.Second)
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
}

// TestVoidDoesNotCrossADestruction: while the source's stopped process may still be
// destroyed by order, because the target's copy runs, the attempt is not given up;
// when the libvirtd that was to do it has ended instead, it is.
func TestVoidDoesNotCrossADestruction(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.fleet.KeepSource(guest)
	w.until("complete on the target, stopped on the source", func() bool {
		return b.sees().GetComplete() && a.sees().GetCall() == agentv1.Call_CALL_ENDED && a.sees().GetPause() == agentv1.Pause_PAUSE_MOVE
	})
	// The order has come, and libvirt's answer has not.
	a.do(func() {
		d := a.core.domains[guest]
		a.core.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Destroying = true })
		d.exit.struck = w.now()
	})
	struck := w.now()
	void := func() *agentv1.Order { return say(11, "m1", &agentv1.Void{}) }
	a.mustSay(t, refusedOutcome, "is being destroyed by order", void())
	a.host.KillLibvirtd()
	w.pass(time.Second)
	a.host.SetInfo(func(i *virt.HostInfo) { i.DaemonSince = struck.Add(-time.Hour) })
	a.host.StartLibvirtd()
	w.pass(time.Minute)
	a.mustSay(t, refusedOutcome, "is being destroyed by order", void())
	a.host.KillLibvirtd()
	w.pass(time.Second)
	a.host.SetInfo(func(i *virt.HostInfo) { i.DaemonSince = struck.Add(time.Second) })
	a.host.StartLibvirtd()
	w.pass(time.Minute)
	a.mustSay(t, doneOutcome, "", void())
}
