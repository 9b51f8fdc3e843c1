package agent

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
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
	w.enforce("h1", "h2")
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
	w.enforce("h1", "h2")
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

// movedOn is a guest that vireo has moved from h1 to h2, and that somebody's
// virsh now moves on; the hook of where it comes in has been asked and waits.
func movedOn(t *testing.T, to string) (w *world, xml string, waits **hook.Answer) {
	t.Helper()
	w = newWorld(t, "h1", "h2", "h3")
	w.enforce("h1", "h2", "h3")
	w.boot("h1")
	b := newBoss(w, "h1", "h2")
	w.until("the row's end", func() bool { return b.row.State.Ended() })
	b.rightly()
	w.after = nil
	w.hosts["h1"].mustSay(t, doneOutcome, "", &agentv1.Order{Id: "settle", Epoch: 12, Attempt: "attempt-1", Body: &agentv1.Order_Settle{Settle: &agentv1.Settle{}}})
	xml, err := w.hosts["h2"].conn().XML(t.Context(), guest, virt.XMLFlags{Migratable: true, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	return w, xml, w.hosts[to].hooked(hook.Migrate, xml)
}

// comesByHand lets it in and migrates it.
func comesByHand(t *testing.T, w *world, xml string, waits **hook.Answer, guarded bool) {
	t.Helper()
	s := w.hosts["h1"]
	p := s.request()
	if p.GetKind() != agentv1.StartKind_START_KIND_INCOMING || p.GetDomain().GetLiveAttempt() != "attempt-1" {
		t.Fatalf("asks %v", p)
	}
	s.grants(p, 1000, func(a *agentv1.PermissionAnswer) { a.Attempt, a.Source = "hand-1", "h2" })
	says(t, "migrate", *waits, "")
	plain, err := virt.WithoutAttempt(xml)
	if err != nil {
		t.Fatal(err)
	}
	says(t, "a start of a definition", *s.hooked(hook.Prepare, plain), "on its way here")
	says(t, "prepare", *s.hooked(hook.Prepare, xml), "")
	says(t, "prepare again", *s.hooked(hook.Prepare, xml), "on its way here")
	params := virt.MigrateParams{UUID: guest, DestURI: s.host.URI(), Persist: true, Guarded: guarded}
	if err := w.hosts["h2"].host.StartMigrate(params, func(error) {}); err != nil {
		t.Fatal(err)
	}
	w.pass(20 * time.Second)
	if s.sees().GetLiveAttempt() != "attempt-1" {
		t.Fatalf("what has come carries %q", s.sees().GetLiveAttempt())
	}
}

// TestMovedBackByHand: a guest that vireo has moved carries the id of that move
// for life. The leader knows whose it is, and lets virsh move it.
func TestMovedBackByHand(t *testing.T) {
	w, xml, waits := movedOn(t, "h1")
	comesByHand(t, w, xml, waits, false)
	s := w.hosts["h1"]
	if d := s.files.State().Domains[guest]; d.Attempt.ID != "hand-1" || !d.Attempt.Arrival.Resumed || d.Attempt.Arrival.Carries != "attempt-1" {
		t.Errorf("its copy is not known as the attempt's: %+v", d.Attempt.Arrival)
	}
	// What is said of the old move is not about this process.
	if d := s.core.domains[guest]; d.copyOf("attempt-1") || !d.copyOf("hand-1") {
		t.Error("the process is taken for the old move's copy")
	}
	conn := s.conn()
	if err := conn.Suspend(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if p := s.sees().GetPause(); p != agentv1.Pause_PAUSE_OWNER {
		t.Errorf("its owner has paused it: %s", p)
	}
	s.mustSay(t, doneOutcome, "", &agentv1.Order{Epoch: 1001, Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}})
}

// TestHandBroughtCopyIsVoided: a paused copy that came by hand goes with its
// attempt, whatever id it carries.
func TestHandBroughtCopyIsVoided(t *testing.T) {
	w, xml, waits := movedOn(t, "h1")
	comesByHand(t, w, xml, waits, true)
	s := w.hosts["h1"]
	if s.sees().GetPause() != agentv1.Pause_PAUSE_GUARD {
		t.Fatalf("shown %v", s.sees())
	}
	s.mustSay(t, doneOutcome, "", &agentv1.Order{Epoch: 1001, Attempt: "hand-1", Body: &agentv1.Order_Void{Void: &agentv1.Void{}}})
	if s.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED {
		t.Errorf("the copy is still here: %v", s.sees())
	}
}

// TestMovedByHandWithoutLeader: nobody here knows whose id it is.
func TestMovedByHandWithoutLeader(t *testing.T) {
	w, xml, waits := movedOn(t, "h3")
	s := w.hosts["h3"]
	s.grants(s.request(), 0, func(a *agentv1.PermissionAnswer) { a.Reason = "it is not that guest" })
	says(t, "the leader says no", *waits, "it is not that guest")
	s.close()
	says(t, "the manager away", *s.hooked(hook.Migrate, xml), "attempt-1 of g1 was not prepared on this host, and a migration by hand needs the manager's consent, and the manager is away")
}

// TestArrivalByHandIsNoDefinition: between libvirt's migrate and prepare the copy
// that comes in is there already. It is not what could be started by mistake, and
// is let in; a definition is.
func TestArrivalByHandIsNoDefinition(t *testing.T) {
	for name, tt := range map[string]struct {
		persistent bool
		want       string
	}{
		"the copy":     {false, ""},
		"a definition": {true, "is on its way here from h2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := enforcing(t, "h1")
			s, xml := w.hosts["h1"], guestXML("g1", guest)
			waits := s.hooked(hook.Migrate, xml)
			s.grants(s.request(), 1000, func(a *agentv1.PermissionAnswer) { a.Attempt, a.Source = "hand-1", "h2" })
			says(t, "migrate", *waits, "")
			shown, err := virt.ParseDomain(xml)
			if err != nil {
				t.Fatal(err)
			}
			shown.ID, shown.State, shown.Reason, shown.Persistent = 7, virt.StatePaused, virt.ReasonMigrating, tt.persistent
			s.do(func() { s.core.saw(s.core.domain(guest), Seen{Domain: shown}, true, s.core.step, w.now()) })
			says(t, "prepare", *s.hooked(hook.Prepare, xml), tt.want)
		})
	}
}
