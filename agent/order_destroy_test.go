package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Line 6: the target runs, the source's copy is stopped by the move.
func TestDestroyOwn(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	w.fleet.At(guest, virttest.Finished, func() { a.host.KillLibvirtd() })
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("complete on the target", func() bool { return b.sees().GetComplete() })
	must(t, b.conn().Resume(t.Context(), guest)) // somebody's virsh resume
	a.host.StartLibvirtd()
	w.pass(50 * time.Second)
	if p := a.sees(); p.GetPause() != agentv1.Pause_PAUSE_MOVE || p.GetCall() != agentv1.Call_CALL_ENDED {
		t.Fatalf("source: %s (%s), pause %s, call %s", p.GetState(), p.GetReason(), p.GetPause(), p.GetCall())
	}
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{}))
	w.until("gone by the move", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{}))
	a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if s := a.sees().GetState(); s != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("source: %s, want nothing left", s)
	}
}

// Line 6 of a migration by hand: the source's agent has called nobody, and finds a
// copy that a migration has stopped and left.
func TestDestroyOwnByHand(t *testing.T) {
	w, a, b := stage(t)
	w.fleet.At(guest, virttest.Finished, func() { a.host.KillLibvirtd() })
	must(t, a.host.StartMigrate(virt.MigrateParams{UUID: guest, DestURI: b.host.URI(), Persist: true}, func(error) {}))
	a.mustSay(t, refusedOutcome, "a migration that is not this agent's is under way", say(11, "m1", &agentv1.DestroyOwn{}))
	w.until("runs on the target", func() bool { return strings.Join(w.fleet.RunningOn(guest), ",") == "B" })
	a.host.StartLibvirtd()
	w.pass(10 * time.Second)
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{}))
	w.until("gone by the move", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{})) // its answer was lost
	a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if s := a.sees().GetState(); s != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("source: %s, want nothing left", s)
	}
	if on := strings.Join(w.fleet.RunningOn(guest), ","); on != "B" {
		t.Errorf("runs on %q", on)
	}
}

func TestDestroyOwnNeverTakesARunningCopy(t *testing.T) {
	w, a, _ := leaving(t)
	a.mustSay(t, refusedOutcome, "the migrate call is out", say(11, "m1", &agentv1.DestroyOwn{}))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, refusedOutcome, "not stopped by the move: running", say(11, "m1", &agentv1.DestroyOwn{}))
	if on := strings.Join(w.fleet.RunningOn(guest), ","); on != "A" {
		t.Errorf("runs on %q", on)
	}
}

// What its owner has paused is not what a migration has left, and what runs never is.
func TestDestroyOwnByHandNeverTakesTheGuest(t *testing.T) {
	_, a, _ := stage(t)
	a.mustSay(t, refusedOutcome, "not stopped by a migration: running", say(11, "m1", &agentv1.DestroyOwn{}))
	must(t, a.conn().Suspend(t.Context(), guest))
	a.mustSay(t, refusedOutcome, "not stopped by a migration: paused (user)", say(11, "m1", &agentv1.DestroyOwn{}))
	if p := a.sees(); p.GetState() != agentv1.DomainState_DOMAIN_STATE_PAUSED {
		t.Errorf("source: %s (%s)", p.GetState(), p.GetReason())
	}
}
