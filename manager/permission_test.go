package manager

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// asks sends one question of a host's agent and returns its nonce.
func (h *fakeHost) asks(guest string, kind agentv1.StartKind, change ...func(*agentv1.PermissionRequest)) string {
	h.w.ids++
	id := "uuid-" + guest
	d := h.show(id)
	d.Name, d.MemoryKib, d.Machine, d.Bridges = guest, 128<<10, "pc-q35-7.2", []string{"br0"}
	q := &agentv1.PermissionRequest{Nonce: fmt.Sprintf("n-%d", h.w.ids), BootId: h.boot, Session: h.id, Kind: kind, Domain: d}
	for _, f := range change {
		f(q)
	}
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Permission{Permission: q}})
	return q.Nonce
}

// answered is what a host was answered to a question; nil while it waits.
func (h *fakeHost) answered(nonce string) *agentv1.PermissionAnswer {
	i := slices.IndexFunc(h.answers, func(a *agentv1.PermissionAnswer) bool { return a.GetNonce() == nonce })
	if i < 0 {
		return nil
	}
	return h.answers[i]
}

// start is a user's virsh start on a host that enforces: it asks, and starts
// what it may.
func (w *world) startOn(host, guest string, change ...func(*agentv1.PermissionRequest)) *agentv1.PermissionAnswer {
	w.t.Helper()
	h := w.hosts[host]
	nonce := h.asks(guest, agentv1.StartKind_START_KIND_START, change...)
	w.settle()
	a := h.answered(nonce)
	if a == nil {
		w.fatalf("%s was not answered about %s", host, guest)
	}
	return a
}

func TestPermissionToStart(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "x", 128)
	w.pass(time.Second)
	before := w.core.book.epoch
	a := w.startOn("h2", "x")
	if !a.GetGranted() || a.GetEpoch() <= before || a.GetBootId() != w.hosts["h2"].boot || a.GetSession() != w.hosts["h2"].id {
		t.Fatalf("answer %v", a)
	}
	if cl := w.claim("x"); cl.Holder != "h2" || cl.Epoch < a.GetEpoch() || cl.GrantedBy != "start on h2" {
		t.Fatalf("claim %+v", cl)
	}
	// Another host is told who holds it.
	no := w.startOn("h3", "x")
	if no.GetGranted() || no.GetRefusal() != agentv1.Refusal_REFUSAL_HELD || no.GetHolder() != "h2" || no.GetHolderEpoch() != w.claim("x").Epoch || no.GetSince() == nil ||
		!strings.Contains(no.GetReason(), "h2 holds the claim of x (epoch ") {
		t.Errorf("answer %v", no)
	}
	// What is held already is written again.
	again := w.startOn("h2", "x")
	if !again.GetGranted() || again.GetEpoch() <= a.GetEpoch() {
		t.Errorf("answer %v after %v", again, a)
	}
	// A start that failed gives the claim back.
	w.until("x is released", 20*time.Second, func() bool { return w.claim("x").Epoch == 0 })
	if n := len(w.events("start.refused")); n != 1 {
		t.Errorf("%d refusals told", n)
	}
}

// TestPermissionIsNotConfirmedByARead: a host that has lost a permission by a boot
// is told another one, with an epoch of its own: the lost one may be under way.
func TestPermissionIsNotConfirmedByARead(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "x", 128)
	w.pass(time.Second)
	h := w.hosts["h2"]
	h.asks("x", agentv1.StartKind_START_KIND_START)
	w.do(func() { // it is given, and does not arrive
		for _, m := range h.outbox {
			w.core.Received(w.now, h.session, m)
		}
	})
	given := w.claim("x")
	if given.Holder != "h2" {
		t.Fatalf("claim %+v", given)
	}
	h.owes = []string{"uuid-x"}
	h.reboot()
	w.until("x is confirmed", 20*time.Second, func() bool { return h.domains["uuid-x"].phase == agentv1.ClaimPhase_CLAIM_PHASE_HELD })
	if e := h.domains["uuid-x"].epoch; e <= given.Epoch {
		t.Errorf("confirmed with epoch %d, the permission had %d", e, given.Epoch)
	}
}

// TestHolderDoesNotStartWhatRunsElsewhere: a restored store's claim may be older than
// the move that took the guest away.
func TestHolderDoesNotStartWhatRunsElsewhere(t *testing.T) {
	w := fleet(t)
	if cl := w.claim("g1"); cl.Holder != "h1" {
		t.Fatalf("claim %+v", cl)
	}
	w.do(func() { w.core.hosts["h2"].seen["uuid-g1"] = w.core.hosts["h1"].seen["uuid-g1"] })
	a := w.startOn("h1", "g1")
	if a.GetGranted() || a.GetRefusal() != agentv1.Refusal_REFUSAL_HELD || a.GetHolder() != "h2" || !strings.Contains(a.GetReason(), "g1 was last seen at work on h2") {
		t.Errorf("answer %v", a)
	}
}

// TestPermissionIsOnlyGivenOnce: a question that comes twice has one answer and
// one effect; one of another session or boot has none.
func TestPermissionIsOnlyGivenOnce(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "x", 128)
	w.pass(time.Second)
	same := func(q *agentv1.PermissionRequest) { q.Nonce = "same" }
	first := w.startOn("h2", "x", same)
	w.hosts["h2"].answers = nil
	second := w.startOn("h2", "x", same)
	if !first.GetGranted() || second.GetEpoch() != first.GetEpoch() {
		t.Errorf("first %v, then %v", first, second)
	}
	for name, other := range map[string]func(q *agentv1.PermissionRequest){
		"session": func(q *agentv1.PermissionRequest) { q.Session = "s-0" },
		"boot":    func(q *agentv1.PermissionRequest) { q.BootId = "before" },
	} {
		nonce := w.hosts["h2"].asks("x", agentv1.StartKind_START_KIND_START, other)
		w.settle()
		if a := w.hosts["h2"].answered(nonce); a != nil {
			t.Errorf("a question of another %s was answered: %v", name, a)
		}
	}
}

func TestPermissionRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world)
		host    string
		change  func(q *agentv1.PermissionRequest)
		want    agentv1.Refusal
		says    string
	}{
		"no UUID":                {nil, "h2", func(q *agentv1.PermissionRequest) { q.Domain.Uuid = "" }, agentv1.Refusal_REFUSAL_INVALID, "no domain"},
		"an epoch of no store":   {nil, "h2", func(q *agentv1.PermissionRequest) { q.Domain.Epoch = 1 << 40 }, agentv1.Refusal_REFUSAL_INVALID, "older than what was promised"},
		"a host at risk":         {func(w *world) { w.read("h2", 15) }, "h2", nil, agentv1.Refusal_REFUSAL_HOST, "quarantined; better: h3"},
		"a host that is emptied": {func(w *world) { w.evacuate("h2") }, "h2", nil, agentv1.Refusal_REFUSAL_HOST, "better: h3"},
		"no room":                {nil, "h2", func(q *agentv1.PermissionRequest) { q.Domain.MemoryKib = 70 * gib }, agentv1.Refusal_REFUSAL_CAPACITY, "no room for x"},
		"a full disk":            {func(w *world) { w.store.full = true }, "h2", nil, agentv1.Refusal_REFUSAL_UNAVAILABLE, "disk is full"},
		"last seen elsewhere": {func(w *world) {
			w.core.hosts["h3"].last["uuid-x"] = store.Domain{UUID: "uuid-x", Host: "h3", State: "running"}
			w.hosts["h3"].disconnect()
			delete(w.core.hosts["h3"].seen, "uuid-x")
		}, "h2", nil, agentv1.Refusal_REFUSAL_HELD, "last seen at work on h3"},
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(t)
			w.shut("h2", "x", 128)
			w.pass(time.Second)
			if c.prepare != nil {
				c.prepare(w)
				w.pass(time.Second)
			}
			var change []func(*agentv1.PermissionRequest)
			if c.change != nil {
				change = append(change, c.change)
			}
			a := w.startOn(c.host, "x", change...)
			if a.GetGranted() || a.GetRefusal() != c.want || !strings.Contains(a.GetReason(), c.says) {
				t.Errorf("answer %v", a)
			}
			if w.claim("x").Epoch != 0 {
				t.Errorf("claim %+v", w.claim("x"))
			}
			w.store.full = false
		})
	}
}

// TestPermissionWhileItMoves: a domain that is on its way, or ambiguous, starts
// nowhere.
func TestPermissionWhileItMoves(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	w.evacuate("h1")
	w.until("g1 moves", 10*time.Second, func() bool { return w.claim("g1").Phase == store.Transferring })
	for _, host := range []string{"h1", "h2", "h3"} {
		a := w.startOn(host, "g1")
		if a.GetGranted() || a.GetRefusal() != agentv1.Refusal_REFUSAL_TRANSFERRING || !strings.Contains(a.GetReason(), "from h1 to") {
			t.Errorf("%s: answer %v", host, a)
		}
	}
	w = fleet(t)
	w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", proc: running, persistent: true, memory: 128 << 10, planted: true}
	w.hosts["h1"].domains["uuid-g1"].planted = true
	w.pass(2 * time.Second)
	if a := w.startOn("h1", "g1"); a.GetGranted() || a.GetRefusal() != agentv1.Refusal_REFUSAL_AMBIGUOUS {
		t.Errorf("answer %v", a)
	}
}

// TestArbitration: inside the window the least risky of those who asked gets it.
func TestArbitration(t *testing.T) {
	w := fleet(t)
	w.core.pol.Arbitration = 200 * time.Millisecond
	w.read("h2", 1.5)
	w.read("h3", 0.2)
	first := w.hosts["h2"].asks("x", agentv1.StartKind_START_KIND_START)
	w.pass(tick)
	second := w.hosts["h3"].asks("x", agentv1.StartKind_START_KIND_START)
	w.settle()
	if w.hosts["h2"].answered(first) != nil {
		t.Fatal("the first was answered at once")
	}
	w.until("both are answered", time.Second, func() bool { return w.hosts["h2"].answered(first) != nil && w.hosts["h3"].answered(second) != nil })
	if a, b := w.hosts["h2"].answered(first), w.hosts["h3"].answered(second); a.GetGranted() || a.GetHolder() != "h3" || !b.GetGranted() {
		t.Errorf("h2 %v, h3 %v", a, b)
	}
	third := w.hosts["h2"].asks("y", agentv1.StartKind_START_KIND_START)
	w.settle()
	w.hosts["h2"].disconnect()
	w.pass(time.Second)
	if len(w.core.asked.pleas.waiting) != 0 || w.claim("y").Epoch != 0 {
		t.Errorf("%s of a session that is over was granted: %+v", third, w.claim("y"))
	}
}

// TestMigrationByHand: somebody's virsh migrate has a row, a claim in
// transferring, and ends by what is true.
func TestMigrationByHand(t *testing.T) {
	open := func(t *testing.T) (*world, migration.Row) {
		w := fleet(t)
		nonce := w.hosts["h2"].asks("g1", agentv1.StartKind_START_KIND_INCOMING)
		w.settle()
		a := w.hosts["h2"].answered(nonce)
		if !a.GetGranted() || a.GetAttempt() == "" || a.GetSource() != "h1" {
			t.Fatalf("answer %v", a)
		}
		w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", memory: 128 << 10, epoch: a.GetEpoch(), attempt: a.GetAttempt(),
			role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED, phase: agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING}
		row := w.rows()[a.GetAttempt()]
		if cl := w.claim("g1"); cl.Phase != store.Transferring || cl.Target != "h2" || row.Switchover != migration.Direct {
			t.Fatalf("claim %+v, row %+v", cl, row)
		}
		w.pass(3 * time.Second)
		source := w.hosts["h1"].domains["uuid-g1"]
		source.job = true
		target := w.hosts["h2"].domains["uuid-g1"]
		target.proc, target.job = stopped, true
		w.pass(3 * time.Second)
		return w, row
	}
	t.Run("arrives", func(t *testing.T) {
		w, row := open(t)
		source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts["h2"].domains["uuid-g1"]
		source.proc, source.job = none, false
		target.proc, target.job = running, false
		w.until("the claim has followed", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
		if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h2" {
			t.Errorf("claim %+v", cl)
		}
		if w.sent("h1", "move") != 0 || w.sent("h2", "prepare") != 0 {
			t.Errorf("vireo moved it too: %v", w.orders)
		}
	})
	t.Run("is given up", func(t *testing.T) {
		w, row := open(t)
		source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts["h2"].domains["uuid-g1"]
		source.job = false
		target.proc, target.job = none, false
		w.until("the claim is back", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.RolledBack })
		if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h1" {
			t.Errorf("claim %+v", cl)
		}
	})
	t.Run("leaves two", func(t *testing.T) {
		w, row := open(t)
		source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts["h2"].domains["uuid-g1"]
		source.planted, target.planted = true, true
		source.job = false
		target.proc, target.job = running, false
		w.pass(3 * time.Second)
		if cl := w.claim("g1"); cl.Phase != store.Ambiguous || w.rows()[row.ID].State != migration.Unclear {
			t.Errorf("claim %+v, row %+v", cl, w.rows()[row.ID])
		}
	})
	t.Run("moved by vireo before", func(t *testing.T) {
		w := fleet(t)
		w.hosts["h1"].domains["uuid-g1"].live = "m-before"
		w.pass(time.Second)
		carrying := func(id string) *agentv1.PermissionAnswer {
			nonce := w.hosts["h2"].asks("g1", agentv1.StartKind_START_KIND_INCOMING, func(q *agentv1.PermissionRequest) { q.Domain.LiveAttempt = id })
			w.settle()
			return w.hosts["h2"].answered(nonce)
		}
		if a := carrying("m-void"); a.GetGranted() || !strings.Contains(a.GetReason(), "carries the id of the move m-void, and g1 on h1 does not") {
			t.Errorf("a copy of another move: %v", a)
		}
		if cl := w.claim("g1"); cl.Phase != store.Held || len(w.rows()) != 0 {
			t.Errorf("a refused migration has left claim %+v, rows %v", cl, w.rows())
		}
		a := carrying("m-before")
		if !a.GetGranted() || a.GetSource() != "h1" || w.claim("g1").Phase != store.Transferring {
			t.Fatalf("answer %v, claim %+v", a, w.claim("g1"))
		}
		// Its copy, paused on its way, is no leftover.
		w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", memory: 128 << 10, epoch: a.GetEpoch(), attempt: a.GetAttempt(), live: "m-before",
			role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED, phase: agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING, proc: stopped, guard: true}
		w.pass(2 * time.Second)
		if l := w.core.leftovers(); len(l) != 0 {
			t.Errorf("left over: %v", l)
		}
	})
	t.Run("not where it is defined", func(t *testing.T) {
		w := fleet(t)
		w.shut("h2", "g1", 128)
		w.pass(time.Second)
		nonce := w.hosts["h2"].asks("g1", agentv1.StartKind_START_KIND_INCOMING)
		w.settle()
		if a := w.hosts["h2"].answered(nonce); a.GetGranted() || !strings.Contains(a.GetReason(), "defined") {
			t.Errorf("answer %v", a)
		}
	})
}

// TestAutostartIsMadeUpFor: after a boot the claim of a guest whose autostart was
// refused is confirmed, not taken back.
func TestAutostartIsMadeUpFor(t *testing.T) {
	w := fleet(t)
	before := w.claim("g1").Epoch
	w.hosts["h1"].owes = []string{"uuid-g1"}
	w.hosts["h1"].reboot()
	w.pass(time.Second)
	if cl := w.claim("g1"); cl.Holder != "h1" || cl.Epoch <= before || w.hosts["h1"].domains["uuid-g1"].epoch != cl.Epoch {
		t.Errorf("claim %+v, the journal is at %d", cl, w.hosts["h1"].domains["uuid-g1"].epoch)
	}
	if cl := w.claim("g2"); cl.Epoch != 0 && w.sent("h1", "release") == 0 {
		t.Errorf("g2, which nobody starts, is still claimed: %+v", cl)
	}
}
