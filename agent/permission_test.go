package agent

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// enforcing is a world whose hosts enforce, each with a session.
func enforcing(t *testing.T, names ...string) *world {
	t.Helper()
	w := newWorld(t, names...)
	w.enforce(names...)
	for _, n := range names {
		w.hosts[n].open(1)
	}
	return w
}

// enforce restarts agents with a hook that refuses.
func (w *world) enforce(names ...string) {
	w.t.Helper()
	for _, n := range names {
		s := w.hosts[n]
		s.hook = HookConfig{Mode: configs.HookEnforce}
		s.kill()
		s.start()
	}
}

// hooked asks as libvirt's hook does; the answer is nil until there is one.
func (s *station) hooked(op hook.Operation, xml string) **hook.Answer {
	s.w.t.Helper()
	var got *hook.Answer
	s.do(func() {
		s.core.Hooked(hook.Request{Name: "g1", Operation: op, XML: xml}, s.w.now(), func(a hook.Answer) {
			if got != nil {
				s.w.t.Errorf("answered twice: %+v, then %+v", *got, a)
			}
			s.w.logf("%s: hook %s: %+v", s.name, op, a)
			got = &a
		})
	})
	return &got
}

// says checks an answer that is there; want is "" for a yes, else a part of the refusal.
func says(t *testing.T, what string, got *hook.Answer, want string) {
	t.Helper()
	switch {
	case got == nil:
		t.Errorf("%s: no answer", what)
	case want == "" && !got.Allow:
		t.Errorf("%s: refused: %s", what, got.Message)
	case want != "" && (got.Allow || !strings.Contains(got.Message, want)):
		t.Errorf("%s: %+v, want a refusal with %q", what, *got, want)
	}
}

// request is the last question to the leader.
func (s *station) request() *agentv1.PermissionRequest {
	s.w.t.Helper()
	for i := len(s.sent) - 1; i >= 0; i-- {
		if p := s.sent[i].GetPermission(); p != nil {
			return p
		}
	}
	s.w.t.Fatalf("%s has not asked the leader", s.name)
	return nil
}

// grants answers a question.
func (s *station) grants(p *agentv1.PermissionRequest, epoch uint64, change func(*agentv1.PermissionAnswer)) {
	a := &agentv1.PermissionAnswer{
		Nonce: p.GetNonce(), BootId: p.GetBootId(), Session: p.GetSession(), Domain: p.GetDomain().GetUuid(),
		Generation: 1, Term: s.term, Granted: epoch > 0, Epoch: epoch,
	}
	if change != nil {
		change(a)
	}
	s.do(func() {
		s.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Permission{Permission: a}}, s.w.now())
	})
}

func (s *station) confirmed(epoch uint64) {
	s.w.t.Helper()
	o := &agentv1.Order{Id: "confirm", Epoch: epoch, Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}}
	if r := s.order(o); r.GetOutcome() != agentv1.Outcome_OUTCOME_DONE {
		s.w.t.Fatalf("confirm: %v", r)
	}
}

func carrying(t *testing.T, attempt string) string {
	t.Helper()
	xml, err := virt.DestXML(guestXML("g1", guest), attempt)
	if err != nil {
		t.Fatal(err)
	}
	return xml
}

func TestHookAnswersFromMemory(t *testing.T) {
	plain := guestXML("g1", guest)
	prepare := &agentv1.Order{
		Id: "prepare", Epoch: 11, Attempt: "a1",
		Body: &agentv1.Order_Prepare{Prepare: &agentv1.Prepare{Source: "h1", Domain: &agentv1.Domain{Uuid: guest, Name: "g1", MemoryKib: 131072}}},
	}
	tests := []struct {
		name   string
		before func(*station)
		op     hook.Operation
		xml    string
		want   string // "": yes
	}{
		{"held and confirmed", func(s *station) { s.confirmed(5) }, hook.Prepare, plain, ""},
		{"held, a restore", func(s *station) { s.confirmed(5) }, hook.Restore, plain, ""},
		{"nothing known, the manager away", func(s *station) { s.close() }, hook.Prepare, plain, "this host does not hold the claim of g1, and the manager is away"},
		{"a migration by hand, the manager away", func(s *station) { s.close() }, hook.Migrate, plain, "needs the manager's consent, and the manager is away"},
		{"released", func(s *station) {
			s.confirmed(5)
			s.order(&agentv1.Order{Id: "release", Epoch: 6, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}})
			s.close()
		}, hook.Prepare, plain, "does not hold the claim"},
		{"held, and the claim was given to an attempt that never began", func(s *station) {
			s.confirmed(5)
			s.order(&agentv1.Order{Id: "void", Epoch: 6, Attempt: "a1", Body: &agentv1.Order_Void{Void: &agentv1.Void{}}})
			s.close()
		}, hook.Prepare, plain, "does not hold the claim"},
		{"held, and the claim was given to an attempt that can't begin", func(s *station) {
			s.confirmed(5)
			s.order(&agentv1.Order{Id: "move", Epoch: 6, Attempt: "a1", Body: &agentv1.Order_Move{Move: &agentv1.Move{Target: "h9"}}})
			s.close()
		}, hook.Prepare, plain, "does not hold the claim"},
		{"held, and a void that was owed", func(s *station) {
			s.confirmed(5)
			s.order(&agentv1.Order{Id: "void", Epoch: 5, Attempt: "a1", Body: &agentv1.Order_Void{Void: &agentv1.Void{}}})
			s.close()
		}, hook.Prepare, plain, ""},
		{"an attempt that nobody prepared", func(s *station) { s.close() }, hook.Migrate, carrying(t, "a1"), "a1 of g1 was not prepared on this host"},
		{"an attempt that was prepared", func(s *station) { s.order(prepare) }, hook.Migrate, carrying(t, "a1"), ""},
		{"the copy of a prepared attempt", func(s *station) { s.order(prepare) }, hook.Prepare, carrying(t, "a1"), ""},
		{"another attempt's copy", func(s *station) { s.order(prepare) }, hook.Migrate, carrying(t, "a2"), "on its way here from h1 (attempt a1)"},
		{"a void attempt", func(s *station) {
			s.order(prepare)
			s.order(&agentv1.Order{Id: "void", Epoch: 11, Attempt: "a1", Body: &agentv1.Order_Void{Void: &agentv1.Void{}}})
		}, hook.Prepare, carrying(t, "a1"), "a1 of g1 was given up"},
		{"a start of a leftover while the copy is expected", func(s *station) { s.order(prepare) }, hook.Prepare, plain, "on its way here from h1"},
		{"a migration by hand to where it is defined", func(s *station) {
			if _, err := s.conn().Define(t.Context(), plain); err != nil {
				t.Fatal(err)
			}
			s.w.pass(time.Second)
		}, hook.Migrate, plain, "g1 is defined here already"},
		{"no UUID", nil, hook.Prepare, "<domain><name>g1</name></domain>", "has no UUID"},
		{"half an XML", nil, hook.Prepare, plain[:200], "can't be read"},
		{"another domain's XML", nil, hook.Prepare, guestXML("g2", guest), "libvirt speaks of g1"},
		{"two attempts", nil, hook.Prepare, strings.Replace(carrying(t, "a1"), "<metadata>", `<metadata><x:attempt xmlns:x="`+virt.AttemptNamespace+`" id="a2"/>`, 1), "2 attempt ids"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := enforcing(t, "h2")
			s := w.hosts["h2"]
			if tt.before != nil {
				tt.before(s)
			}
			says(t, string(tt.op), *s.hooked(tt.op, tt.xml), tt.want)
		})
	}
}

func TestHookAsksTheLeader(t *testing.T) {
	xml := guestXML("g1", guest)
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	got := s.hooked(hook.Prepare, xml)
	p := s.request()
	if *got != nil || p.GetKind() != agentv1.StartKind_START_KIND_START || p.GetDomain().GetName() != "g1" ||
		p.GetDomain().GetMemoryKib() != 131072 || len(p.GetDomain().GetDisks()) != 1 || p.GetSession() != s.session ||
		p.GetBootId() != s.host.BootID() || p.GetWait().AsDuration() != hook.AskWait {
		t.Fatalf("asks %v, answer %v", p, *got)
	}
	s.grants(p, 7, nil)
	says(t, "granted", *got, "")
	d := s.files.State().Domains[guest]
	if d.Phase != journal.Held || !d.Confirmed || d.Epoch != 7 || len(d.Starts) != 1 {
		t.Errorf("journaled %+v", d)
	}
	if !s.sees().GetStartInProgress() || s.sees().GetEpoch() != 7 {
		t.Errorf("shown %v", s.sees())
	}
	// libvirt shows that nothing came of it.
	w.pass(time.Second)
	if d := s.files.State().Domains[guest]; len(d.Starts) != 0 || s.sees().GetStartInProgress() {
		t.Errorf("a start that failed is still in progress: %+v", d)
	}
	// From now on memory answers.
	says(t, "again", *s.hooked(hook.Prepare, xml), "")
}

func TestPermissionsThatAreNone(t *testing.T) {
	xml := guestXML("g1", guest)
	tests := []struct {
		name   string
		epoch  uint64
		change func(*agentv1.PermissionAnswer)
		want   string
	}{
		{"refused", 0, func(a *agentv1.PermissionAnswer) {
			a.Refusal, a.Reason = agentv1.Refusal_REFUSAL_HELD, "host2 holds the claim of g1 (epoch 41, since 14:02)"
		}, "host2 holds the claim of g1 (epoch 41, since 14:02)"},
		{"unavailable", 0, func(a *agentv1.PermissionAnswer) {
			a.Refusal, a.Reason = agentv1.Refusal_REFUSAL_UNAVAILABLE, "the store can't be written"
		}, "the store can't be written"},
		{"for another session", 7, func(a *agentv1.PermissionAnswer) { a.Session = "s-older" }, "another boot, session or domain"},
		{"for another boot", 7, func(a *agentv1.PermissionAnswer) { a.BootId = "older" }, "another boot, session or domain"},
		{"for another domain", 7, func(a *agentv1.PermissionAnswer) { a.Domain = "other" }, "another boot, session or domain"},
		{"of an older epoch", 5, nil, "has epoch 5, this host knows 5"},
		{"of no epoch", 0, func(a *agentv1.PermissionAnswer) { a.Granted = true }, "has epoch 0"},
		{"of an older term", 7, func(a *agentv1.PermissionAnswer) { a.Term = 0 }, "term 0 is older than 1"},
		{"of an older generation", 7, func(a *agentv1.PermissionAnswer) { a.Generation = 0 }, "generation 0 is older than 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := enforcing(t, "h1")
			s := w.hosts["h1"]
			s.confirmed(5)
			s.order(&agentv1.Order{Id: "release", Epoch: 5, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}})
			got := s.hooked(hook.Prepare, xml)
			s.grants(s.request(), tt.epoch, tt.change)
			says(t, "answer", *got, tt.want)
			if d := s.files.State().Domains[guest]; d.Phase != journal.Released || d.Epoch != 5 || len(d.Starts) != 0 {
				t.Errorf("journaled %+v", d)
			}
		})
	}
}

func TestLeaderThatDoesNotAnswer(t *testing.T) {
	xml := guestXML("g1", guest)
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	got := s.hooked(hook.Prepare, xml)
	p := s.request()
	w.pass(hook.AskWait - time.Millisecond)
	if *got != nil {
		t.Fatalf("answered too early: %+v", **got)
	}
	w.pass(time.Millisecond)
	says(t, "silence", *got, "has not answered in 1.5s")
	s.grants(p, 9, nil) // too late
	if d := s.files.State().Domains[guest]; d.Epoch != 0 || d.Phase != "" {
		t.Errorf("a permission for which nobody waits was journaled: %+v", d)
	}
	got = s.hooked(hook.Prepare, xml)
	s.close()
	says(t, "the session breaks", *got, "the manager went away")
}

// TestGrantMeetsOrder: an order to move that came meanwhile wins over a
// permission, and a release over which a permission came is refused.
func TestGrantMeetsOrder(t *testing.T) {
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	s.confirmed(5)
	s.order(&agentv1.Order{Id: "release", Epoch: 5, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}})
	got := s.hooked(hook.Prepare, guestXML("g1", guest))
	p := s.request()
	s.give(&agentv1.Order{Id: "release again", Epoch: 5, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}})
	s.grants(p, 8, nil) // while the release looks at libvirt
	says(t, "permission", *got, "")
	w.until("an answer", func() bool { return s.results["release again"] != nil })
	if r := s.results["release again"]; r.GetOutcome() != agentv1.Outcome_OUTCOME_REFUSED {
		t.Errorf("the older release: %v", r)
	}
	if d := s.files.State().Domains[guest]; d.Phase != journal.Held || d.Epoch != 8 {
		t.Errorf("journaled %+v", d)
	}
}

func TestFullJournalRefuses(t *testing.T) {
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	s.confirmed(5)
	s.fail = errors.New("no space left on device")
	says(t, "held", *s.hooked(hook.Prepare, guestXML("g1", guest)), "no space left on device")
	s.fail = nil
	says(t, "with space", *s.hooked(hook.Prepare, guestXML("g1", guest)), "")
}

func TestObserving(t *testing.T) {
	w := newWorld(t, "h1")
	s := w.hosts["h1"]
	s.hook = HookConfig{Mode: configs.HookObserve}
	s.kill()
	s.start()
	w.boot("h1")
	got := *s.hooked(hook.Prepare, guestXML("g1", guest))
	if got == nil || !got.Allow || !strings.Contains(got.Message, "does not hold the claim") {
		t.Fatalf("answer %+v", got)
	}
	s.open(1)
	w.pass(time.Second)
	r := s.reports[len(s.reports)-1]
	if r.GetHookMode() != agentv1.HookMode_HOOK_MODE_OBSERVE || len(r.GetRefusedStarts()) != 1 || !r.GetRefusedStarts()[0].GetAllowed() {
		t.Errorf("reported: mode %s, refused %v", r.GetHookMode(), r.GetRefusedStarts())
	}
	if s.sees().GetUnclaimed() != agentv1.Unclaimed_UNCLAIMED_OBSERVED {
		t.Errorf("shown as %s", s.sees().GetUnclaimed())
	}
	s.confirmed(3)
	if s.sees().GetUnclaimed() != agentv1.Unclaimed_UNCLAIMED_UNSPECIFIED {
		t.Errorf("after its claim is confirmed: %s", s.sees().GetUnclaimed())
	}
}

func TestWaysOut(t *testing.T) {
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	s.close()
	s.core.cfg.Hook.Exempt = []string{"g1"}
	says(t, "exempt", *s.hooked(hook.Prepare, guestXML("g1", guest)), "")
	s.core.cfg.Hook.Exempt = nil
	var got *hook.Answer
	s.core.Hooked(hook.Request{Name: "g1", Operation: hook.Prepare, XML: guestXML("g1", guest), Allowed: "fire drill"}, w.now(), func(a hook.Answer) { got = &a })
	says(t, "allowed", got, "")
	if d := s.files.State().Domains[guest]; d.Unclaimed != journal.Allowed {
		t.Errorf("journaled %+v", d)
	}
	// Optimistic: only what libvirt's locks protect.
	s.core.cfg.Hook.Optimistic = true
	locked := strings.Replace(guestXML("g1", guest), "<devices>", "<devices><lease><lockspace>l</lockspace><key>k</key><target path='/p'/></lease>", 1)
	says(t, "unprotected", *s.hooked(hook.Prepare, guestXML("g1", guest)), "the manager is away")
	s.core.libvirt.facts.LockManager, s.core.libvirt.facts.LockManagerKnown = "lockd", true
	says(t, "protected", *s.hooked(hook.Prepare, locked), "")
	if d := s.files.State().Domains[guest]; d.Unclaimed != journal.Optimistic {
		t.Errorf("journaled %+v", d)
	}
}

// TestIncomingByHand: with the leader's consent a copy without an attempt id
// comes in, once.
func TestIncomingByHand(t *testing.T) {
	w := enforcing(t, "h2")
	s := w.hosts["h2"]
	xml := guestXML("g1", guest)
	got := s.hooked(hook.Migrate, xml)
	p := s.request()
	if p.GetKind() != agentv1.StartKind_START_KIND_INCOMING {
		t.Fatalf("asks %v", p)
	}
	s.grants(p, 12, func(a *agentv1.PermissionAnswer) { a.Attempt, a.Source = "hand-1", "h1" })
	says(t, "migrate", *got, "")
	says(t, "prepare", *s.hooked(hook.Prepare, xml), "")
	d := s.files.State().Domains[guest]
	if d.Phase != journal.Transferring || d.Attempt.ID != "hand-1" || d.Attempt.Arrival.Source != "h1" || !d.Attempt.Arrival.Admitted {
		t.Errorf("journaled %+v", d)
	}
	says(t, "prepare again", *s.hooked(hook.Prepare, xml), "on its way here")
	w.boot("h2") // it has come, and runs
	w.pass(time.Second)
	if d := s.files.State().Domains[guest]; !d.Attempt.Arrival.Resumed {
		t.Errorf("its copy is not known as the attempt's: %+v", d.Attempt.Arrival)
	}
	s.order(&agentv1.Order{Id: "confirm", Epoch: 13, Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}})
	says(t, "a start after it has come", *s.hooked(hook.Prepare, xml), "")
}

// TestSettleGivesNothingBack: a definition that is settled late is no permission
// to run what was given up with the same epoch.
func TestSettleGivesNothingBack(t *testing.T) {
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	s.confirmed(5)
	s.order(&agentv1.Order{Id: "release", Epoch: 6, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}})
	w.boot("h1") // by somebody whom the hook did not hear
	settle := &agentv1.Order{Id: "settle", Epoch: 6, Attempt: "a1", Body: &agentv1.Order_Settle{Settle: &agentv1.Settle{Keep: true, Autostart: true}}}
	if r := s.order(settle); r.GetOutcome() != agentv1.Outcome_OUTCOME_DONE {
		t.Fatalf("settle: %v", r)
	}
	if d := s.files.State().Domains[guest]; d.Phase != journal.Released || d.Confirmed {
		t.Errorf("journaled %s, confirmed %t", d.Phase, d.Confirmed)
	}
	settle.Id, settle.Epoch = "later", 7
	s.order(settle)
	if d := s.files.State().Domains[guest]; d.Phase != journal.Held || !d.Confirmed {
		t.Errorf("with a newer epoch: %s, confirmed %t", d.Phase, d.Confirmed)
	}
}

// TestMoveOverAMark: the hook has let the domain start again since it was looked
// at: what would be moved is another process.
func TestMoveOverAMark(t *testing.T) {
	w := enforcing(t, "h1", "h2")
	w.boot("h1")
	a, b := w.hosts["h1"], w.hosts["h2"]
	a.confirmed(5)
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Prepare{Source: "h1", Domain: a.sees()}))
	path := filepath.Join(a.dir, "journal")
	if err := journal.LeaveMark(path, journal.Mark{UUID: guest, Name: "g1", At: w.now()}); err != nil {
		t.Fatal(err)
	}
	a.mustSay(t, failedOutcome, "the hook has let it start", say(11, "m1", &agentv1.Move{Target: "h2", PeerUri: b.host.URI()}))
	w.pass(10 * time.Second)
	if on := w.fleet.RunningOn(guest); !slices.Equal(on, []string{"h1"}) || w.fleet.Moving(guest) {
		t.Errorf("runs on %v, moving %t", on, w.fleet.Moving(guest))
	}
	if d := a.files.State().Domains[guest]; !d.IsVoid("m1") || d.Attempt.Departure.Call != journal.CallEnded {
		t.Errorf("journaled %+v", d)
	}
}
