package manager

import (
	"fmt"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// fleet is three hosts, four guests on the first, adopted and confirmed.
func fleet(t testing.TB) *world {
	w := newWorld(t, "h1", "h2", "h3")
	for i := range 4 {
		w.guest("h1", fmt.Sprintf("g%d", i+1), 128)
	}
	w.pass(2 * time.Second)
	return w
}

func (w *world) evacuate(host string) *standing {
	w.t.Helper()
	var d *standing
	var err error
	w.do(func() { d, err = w.core.evacuate(w.now, host, "alice", "a test") })
	if err != nil {
		w.fatalf("evacuate: %v", err)
	}
	return d
}

func TestAdoptsWhatRuns(t *testing.T) {
	w := fleet(t)
	for i := range 4 {
		cl := w.claim(fmt.Sprintf("g%d", i+1))
		d := w.hosts["h1"].domains[fmt.Sprintf("uuid-g%d", i+1)]
		if cl.Holder != "h1" || cl.Phase != store.Held || cl.MemoryKiB != 128<<10 {
			t.Errorf("claim %+v", cl)
		}
		if d.epoch != cl.Epoch || d.phase != agentv1.ClaimPhase_CLAIM_PHASE_HELD {
			t.Errorf("h1 was told epoch %d, %s; the claim's is %d", d.epoch, d.phase, cl.Epoch)
		}
	}
	before := w.claim("g1").Epoch
	w.pass(10 * time.Second)
	if got := w.claim("g1").Epoch; got != before {
		t.Errorf("epoch went from %d to %d though nothing happened", before, got)
	}
}

func TestEvacuationByHand(t *testing.T) {
	w := fleet(t)
	d := w.evacuate("h1")
	if w.state("h1") != store.Evacuating || len(d.Placements) != 4 {
		t.Fatalf("h1 is %s, %d placements", w.state("h1"), len(d.Placements))
	}
	busy := 0
	w.until("h1 is drained", 60*time.Second, func() bool {
		n := 0
		for _, m := range w.core.moves {
			if m.busy(w.now) {
				n++
			}
		}
		busy = max(busy, n)
		return w.state("h1") == store.Drained
	})
	if busy != w.pol.PerSource {
		t.Errorf("%d moves at a time, want %d", busy, w.pol.PerSource)
	}
	w.until("the decision is done", 20*time.Second, func() bool { return w.core.decisions[d.ID].Status == store.Done })
	for i := range 4 {
		name := fmt.Sprintf("g%d", i+1)
		row, cl, at := w.row(name), w.claim(name), w.where(name)
		if row.State != migration.Done || at != row.Target || cl.Holder != at || cl.Phase != store.Held {
			t.Errorf("%s: %s, runs on %q, claim %+v", name, row.State, at, cl)
		}
		if here := w.hosts[at].domains["uuid-"+name]; !here.persistent || !here.autostart || here.epoch != cl.Epoch {
			t.Errorf("%s on %s: %+v, claim's epoch %d", name, at, here, cl.Epoch)
		}
		if left := w.hosts["h1"].domains["uuid-"+name]; left.persistent || left.phase != agentv1.ClaimPhase_CLAIM_PHASE_RELEASED {
			t.Errorf("%s left on h1: %+v", name, left)
		}
		if dt := row.Downtime; dt.Total <= 0 || dt.Switch+dt.SourceExit+dt.Handover != dt.Total {
			t.Errorf("%s: downtime %+v", name, dt)
		}
	}
	if targets := map[string]int{w.where("g1"): 1, w.where("g2"): 1, w.where("g3"): 1, w.where("g4"): 1}; len(targets) != 2 {
		t.Errorf("all went to one host: %v", targets)
	}
	if got := w.core.decisions[d.ID].Resolution; !strings.Contains(got, "all guests have left") {
		t.Errorf("resolution %q", got)
	}
}

// TestHandover: from both sides known to the order to resume lies one commit and
// nothing else: no tick, no other message.
func TestHandover(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("something is complete", 20*time.Second, func() bool {
		d := w.hosts["h1"].domains["uuid-g1"]
		return d.progress == 4
	})
	w.settle()
	resumed := w.sent(w.row("g1").Target, "resume")
	updates := w.store.updates
	w.hosts["h1"].libvirt() // gone by the move
	w.now = w.now.Add(time.Millisecond)
	w.settle()
	if got := w.sent(w.row("g1").Target, "resume"); got == resumed {
		t.Fatal("no order to resume without a tick")
	}
	if n := w.store.updates - updates; n > 2*w.pol.PerSource {
		t.Errorf("%d commits for %d hand-overs", n, w.pol.PerSource)
	}
}

func TestTargetRefusesPrepare(t *testing.T) {
	w := fleet(t)
	w.hosts["h2"].refusePrepare = "there is no bridge \"br7\""
	w.evacuate("h1")
	w.until("h1 is drained", 120*time.Second, func() bool { return w.state("h1") == store.Drained })
	refused := 0
	for _, r := range w.rows() {
		if r.Target == "h2" {
			refused++
			if r.State != migration.RolledBack || !strings.Contains(r.Outcome, "br7") {
				t.Errorf("%s: %s, %q", r.ID, r.State, r.Outcome)
			}
		}
	}
	if refused == 0 || refused > 4 {
		t.Errorf("h2 was asked %d times", refused)
	}
	if h2 := w.hosts["h2"]; len(h2.domains) == 0 {
		t.Error("the void never came to h2")
	} else {
		for id, d := range h2.domains {
			if d.state != agentv1.AttemptState_ATTEMPT_STATE_VOID {
				t.Errorf("%s on h2: attempt is %s", id, d.state)
			}
		}
	}
}

func TestLibvirtFails(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].failMove = "unable to connect to server at 'h2:49152': Connection refused"
	d := w.evacuate("h1")
	w.until("the decision gives up", 10*time.Minute, func() bool { return w.core.decisions[d.ID].Status == store.Done })
	if got := w.core.decisions[d.ID].Resolution; !strings.Contains(got, "4 guests stayed") || !strings.Contains(got, "Connection refused") {
		t.Errorf("resolution %q", got)
	}
	if n := len(w.rows()); n != 4*w.pol.Retry.Attempts {
		t.Errorf("%d rows, want %d attempts for each of 4", n, w.pol.Retry.Attempts)
	}
	for i := range 4 {
		name := fmt.Sprintf("g%d", i+1)
		if w.where(name) != "h1" || w.claim(name).Holder != "h1" || w.claim(name).Phase != store.Held {
			t.Errorf("%s: runs on %q, claim %+v", name, w.where(name), w.claim(name))
		}
	}
	n := len(w.rows())
	w.pass(5 * time.Minute)
	if len(w.rows()) != n {
		t.Errorf("%d more rows after giving up", len(w.rows())-n)
	}
	if w.state("h1") != store.Evacuating {
		t.Errorf("h1 is %s", w.state("h1"))
	}
}

// TestLostFinish: libvirt resumes the source although the copy is complete. The
// copy must go, and the guest must run once.
func TestLostFinish(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].loseFinish = true
	w.evacuate("h1")
	w.until("g1 is rolled back", 60*time.Second, func() bool { return w.row("g1").State == migration.RolledBack })
	if r := w.row("g1"); w.where("g1") != "h1" || !strings.Contains(r.Outcome, "no answer") {
		t.Errorf("g1 runs on %q: %s", w.where("g1"), r.Outcome)
	}
	w.hosts["h1"].loseFinish = false
	w.until("h1 is drained", 5*time.Minute, func() bool { return w.state("h1") == store.Drained })
	for _, h := range w.sorted() {
		for id, d := range h.domains {
			if d.proc == stopped {
				t.Errorf("a paused copy of %s is left on %s", id, h.name)
			}
			if d.persistent && d.proc == none {
				t.Errorf("a definition of %s is left on %s", id, h.name)
			}
		}
	}
}

func TestOrdersLostAndDoubled(t *testing.T) {
	w := fleet(t)
	seen := map[string]int{}
	w.lose = func(to string, o *agentv1.Order) bool {
		key := fmt.Sprintf("%s %T %s", to, o.GetBody(), o.GetAttempt())
		seen[key]++
		return seen[key] == 1
	}
	w.dup = func(string, *agentv1.Order) bool { return true }
	w.evacuate("h1")
	w.until("h1 is drained", 10*time.Minute, func() bool { return w.state("h1") == store.Drained })
	for i := range 4 {
		if row := w.row(fmt.Sprintf("g%d", i+1)); row.State != migration.Done {
			w.until("the row is done", time.Minute, func() bool { return w.row(row.DomainName).State == migration.Done })
		}
	}
}

// TestManagerDiesAtEachWrite ends the manager before and after every commit of
// an evacuation in which one target refuses.
func TestManagerDiesAtEachWrite(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t, "h1", "h2", "h3")
			for i := range 2 {
				w.guest("h1", fmt.Sprintf("g%d", i+1), 128)
			}
			w.pass(1500 * time.Millisecond)
			w.store.after = after
			w.store.crashAt = w.store.updates + n
			crashed := w.store
			w.do(func() { _, _ = w.core.evacuate(w.now, "h1", "alice", "a test") })
			w.settle()
			w.pass(500 * time.Millisecond)
			if w.state("h1") == store.Healthy { // it died before the decision was durable
				w.evacuate("h1")
			}
			w.until(fmt.Sprintf("h1 is drained (died at write %d, after it: %v)", n, after), 2*time.Minute, func() bool { return w.state("h1") == store.Drained })
			w.until("all rows are done", time.Minute, func() bool { return len(w.core.moves) == 0 })
			for i := range 2 {
				name := fmt.Sprintf("g%d", i+1)
				if w.where(name) == "" || w.claim(name).Holder != w.where(name) {
					w.fatalf("write %d: %s runs on %q, claim %+v", n, name, w.where(name), w.claim(name))
				}
			}
			w.db.Close()
			if w.store == crashed { // the evacuation had fewer writes
				if n < 10 {
					t.Fatalf("only %d writes", n)
				}
				break
			}
		}
	}
}

func TestAgentSilentInMidMove(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			w := fleet(t)
			w.evacuate("h1")
			w.until("the guest has stopped", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 3 })
			h := w.hosts["h1"]
			if side == "target" {
				h = w.hosts[w.row("g1").Target]
			}
			h.disconnect()
			w.pass(8 * time.Second)
			if st := w.row("g1").State; st.Ended() || st == migration.Committing {
				t.Fatalf("%s though the %s is silent", st, side)
			}
			if len(w.events("migration.waits")) == 0 {
				t.Error("no alarm for a guest that stands still")
			}
			h.reconnect()
			w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
			if w.where("g1") != w.row("g1").Target {
				t.Errorf("g1 runs on %q", w.where("g1"))
			}
		})
	}
}

func TestAbort(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	d := w.evacuate("h1")
	w.until("g1 moves", 10*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 2 })
	id := w.row("g1").ID
	w.do(func() {
		if _, err := w.core.abort(w.now, id, "bob", "changed my mind"); err != nil {
			t.Error(err)
		}
	})
	w.until("it is rolled back", 20*time.Second, func() bool { return w.rows()[id].State == migration.RolledBack })
	if out := w.rows()[id].Outcome; !strings.Contains(out, "aborted by bob: changed my mind") {
		t.Errorf("outcome %q", out)
	}
	w.hosts["h1"].stallAt = 0
	w.until("the others have left", 2*time.Minute, func() bool { return w.core.decisions[d.ID].Status == store.Done })
	if w.where("g1") != "h1" || !strings.Contains(w.core.decisions[d.ID].Resolution, "1 guest stayed: g1: aborted by bob") {
		t.Errorf("g1 on %q, resolution %q", w.where("g1"), w.core.decisions[d.ID].Resolution)
	}
}

func TestStalledMoveIsGivenUp(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	w.evacuate("h1")
	w.until("g1 is given up", 10*time.Minute, func() bool { return w.row("g1").State == migration.RolledBack })
	if out := w.row("g1").Outcome; !strings.Contains(out, "no closer for") && !strings.Contains(out, "not finished after") {
		t.Errorf("outcome %q", out)
	}
	if w.where("g1") != "h1" {
		t.Errorf("g1 runs on %q", w.where("g1"))
	}
}

func TestSourceRebootsInMidMove(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has stopped", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 4 })
	w.hosts["h1"].reboot()
	w.pass(10 * time.Second)
	// Nobody knows how it ended on h1: a person chooses (line 8).
	row := w.row("g1")
	if row.State != migration.Unclear || w.where("g1") != "" || w.claim("g1").Phase != store.Transferring {
		t.Errorf("%s, runs on %q, claim %+v", row.State, w.where("g1"), w.claim("g1"))
	}
	if len(w.events("migration.waits")) == 0 {
		t.Error("no alarm")
	}
}

// TestCopyDiesAtTheSwitch: the guest has left the source by the move, definition
// and all, and its copy dies before it ran. The definition that came with it is
// the only one there is.
func TestCopyDiesAtTheSwitch(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has stopped", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 4 })
	row := w.row("g1")
	target := w.hosts[row.Target]
	c := target.domains["uuid-g1"]
	c.proc, c.live, c.complete, c.guard, c.job = none, "", false, false, false
	target.sight("uuid-g1")
	w.settle()
	w.until("g1's row ends", 30*time.Second, func() bool { return w.rows()[row.ID].State.Ended() })
	w.pass(10 * time.Second)
	if got := w.rows()[row.ID]; got.State != migration.Failed || w.claim("g1").Domain != "" {
		t.Errorf("%s: %s; claim %+v", got.State, got.Outcome, w.claim("g1"))
	}
	if w.hosts["h1"].domains["uuid-g1"].persistent || !c.persistent {
		t.Errorf("defined on h1: %t, on %s: %t; want the target alone", w.hosts["h1"].domains["uuid-g1"].persistent, row.Target, c.persistent)
	}
	if n := len(w.events("definition.kept")); n != 1 {
		t.Errorf("%d events say where the definition is", n)
	}
}

// TestSourceBootsAfterTheCommit: the guest runs on the target, and the source's
// definition, which nobody there knows the reason of any more, stays and is named.
func TestSourceBootsAfterTheCommit(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has arrived", 20*time.Second, func() bool { return w.claim("g1").Holder == w.row("g1").Target })
	w.hosts["h1"].reboot()
	w.until("g1's row ends", 30*time.Second, func() bool { return w.row("g1").State.Ended() })
	if row := w.row("g1"); row.State != migration.Done || w.where("g1") != row.Target {
		t.Errorf("%s: %s; runs on %q", row.State, row.Outcome, w.where("g1"))
	}
	if n := len(w.events("definition.kept")); n == 0 {
		t.Error("nobody was told of the definition that stays")
	}
}

// TestLostJournal: the source's agent forgets in mid-move. Only its void of the
// attempt makes what it says a word again.
func TestLostJournal(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	w.evacuate("h1")
	w.until("g1 moves", 10*time.Second, func() bool {
		return w.hosts["h1"].domains["uuid-g1"].progress == 2 && w.row("g1").State == migration.Running
	})
	row := w.row("g1")
	d := w.hosts["h1"].domains["uuid-g1"]
	d.attempt, d.state, d.role, d.call, d.epoch, d.phase, d.job = "", 0, 0, 0, 0, 0, false // libvirt's call has ended meanwhile
	w.hosts[row.Target].domains["uuid-g1"].job = false
	w.hosts["h1"].sight("uuid-g1")
	w.hosts[row.Target].sight("uuid-g1")
	w.settle()
	w.until("g1 is rolled back", 20*time.Second, func() bool { return w.rows()[row.ID].State == migration.RolledBack })
	if out := w.rows()[row.ID].Outcome; !strings.Contains(out, "lost its journal") {
		t.Errorf("outcome %q", out)
	}
	if w.where("g1") != "h1" || w.sent("h1", "void") == 0 {
		t.Errorf("g1 runs on %q, %d voids to h1", w.where("g1"), w.sent("h1", "void"))
	}
	if c := w.hosts[row.Target].domains["uuid-g1"]; c.attempt == row.ID && c.proc != none {
		t.Errorf("a copy stays on %s", row.Target)
	}
}

// TestFullDisk: with no room nothing is granted, nothing begins and nothing is
// lost; with room everything goes on by itself.
func TestFullDisk(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 is complete", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 4 })
	w.store.full = true
	w.guest("h3", "new", 128)
	w.pass(10 * time.Second)
	if row := w.row("g1"); row.State == migration.Committing || w.where("g1") != "" {
		t.Errorf("%s, runs on %q, and nothing could be written", row.State, w.where("g1"))
	}
	if w.claim("new").Epoch != 0 {
		t.Error("a claim that is not stored")
	}
	if _, err := w.core.evacuate(w.now, "h2", "alice", ""); err == nil {
		t.Error("an evacuation that is not stored")
	}
	if !w.core.book.full {
		t.Error("the manager does not say so")
	}
	w.store.full = false
	w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
	if w.claim("new").Holder != "h3" {
		t.Errorf("claim %+v", w.claim("new"))
	}
	if w.core.book.full {
		t.Error("the manager still says that its disk is full")
	}
}
