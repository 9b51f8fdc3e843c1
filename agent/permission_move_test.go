package agent

import (
	"testing"

	"github.com/vireo-kvm/vireo/agent/hook"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// TestAttemptComesInOnce: the same id at a second prepare is no arrival.
func TestAttemptComesInOnce(t *testing.T) {
	w := enforcing(t, "h2")
	s := w.hosts["h2"]
	s.order(&agentv1.Order{Id: "prepare", Epoch: 11, Attempt: "a1", Body: &agentv1.Order_Prepare{
		Prepare: &agentv1.Prepare{Source: "h1", Domain: &agentv1.Domain{Uuid: guest, Name: "g1", MemoryKib: 131072}},
	}})
	xml := carrying(t, "a1")
	says(t, "migrate", *s.hooked(hook.Migrate, xml), "")
	says(t, "migrate again", *s.hooked(hook.Migrate, xml), "")
	says(t, "prepare", *s.hooked(hook.Prepare, xml), "")
	says(t, "prepare again", *s.hooked(hook.Prepare, xml), "has come in here before")
	s.kill()
	s.start()
	says(t, "after the agent's restart", *s.hooked(hook.Prepare, xml), "has come in here before")
}

// TestStartWhereItLeft: while the source's call is out, and until the leader has
// spoken again, nobody starts the guest there.
func TestStartWhereItLeft(t *testing.T) {
	w := newWorld(t, "h1", "h2")
	for _, s := range w.hosts {
		s.hook = HookConfig{Mode: configs.HookEnforce}
		s.kill()
		s.start()
	}
	w.boot("h1")
	b := newBoss(w, "h1", "h2")
	h1 := w.hosts["h1"]
	xml := guestXML("g1", guest)
	w.until("a call that is out", func() bool { return h1.sees().GetCall() == agentv1.Call_CALL_OUT })
	says(t, "the call is out", *h1.hooked(hook.Prepare, xml), "being moved from here to h2")
	w.until("gone", func() bool { return h1.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	got := *h1.hooked(hook.Prepare, xml)
	if got == nil || got.Allow {
		t.Errorf("gone, not confirmed: %+v", got)
	}
	w.until("the row's end", func() bool { return b.row.State.Ended() })
	b.rightly()
	asked := h1.hooked(hook.Prepare, xml)
	h1.grants(h1.request(), 0, func(a *agentv1.PermissionAnswer) { a.Reason = "h2 holds the claim of g1" })
	says(t, "the leader knows who has it", *asked, "h2 holds the claim of g1")
	h1.close()
	says(t, "after the move", *h1.hooked(hook.Prepare, xml), "is not closed, and the manager is away")
}

// TestStartOfWhatEndedOnItsWay: a guest that has ended on both sides has no claim,
// and nobody confirms its source any more: the leader's permission closes the
// departure, and nothing but that.
func TestStartOfWhatEndedOnItsWay(t *testing.T) {
	w := newWorld(t, "h1", "h2")
	for _, s := range w.hosts {
		s.hook = HookConfig{Mode: configs.HookEnforce}
		s.kill()
		s.start()
	}
	w.boot("h1")
	b := newBoss(w, "h1", "h2")
	h1 := w.hosts["h1"]
	w.until("a call that is out", func() bool { return h1.sees().GetCall() == agentv1.Call_CALL_OUT })
	h1.host.KillQEMU(guest)
	w.until("the row's end", func() bool { return b.row.State.Ended() })
	asked := h1.hooked(hook.Prepare, guestXML("g1", guest))
	h1.grants(h1.request(), 1000, nil)
	says(t, "a start where it was", *asked, "")
}
