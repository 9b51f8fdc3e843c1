package manager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// backup copies the store, as vireo-manager backup does.
func (w *world) backup() string {
	w.t.Helper()
	file := filepath.Join(filepath.Dir(w.path), "backup.db")
	os.Remove(file)
	if _, err := sqlite.Backup(w.t.Context(), w.path, file); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// restored stops the manager, restores and starts one; whoever stays away is
// not heard.
func (w *world) restored(file string) {
	w.t.Helper()
	if err := w.db.Close(); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := sqlite.Restore(w.t.Context(), file, w.path, w.now); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	w.restart()
}

// moved moves a guest by a person's order.
func (w *world) moved(guest, to string) {
	w.t.Helper()
	row, err := w.core.moveByHand(w.now, by(guest), to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(guest+" has moved", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
}

// TestRestore: claims agree with what runs once everybody has been heard, and
// nothing is granted, moved or released before.
func TestRestore(t *testing.T) {
	w := fleet(t)
	file := w.backup()
	w.moved("g1", "h3")
	w.guest("h2", "new", 128)
	w.hosts["h1"].domains["uuid-g4"].proc = none
	w.pass(3 * time.Second)
	starts := len(w.orders)

	w.hosts["h2"].disconnect()
	w.restored(file)
	w.pass(5 * time.Second)
	if id := w.core.id; id.Generation != 2 {
		t.Fatalf("identity %+v", id)
	}
	if got := w.core.unheard(); len(got) != 1 || got[0] != "h2" {
		t.Fatalf("it waits for %v", got)
	}
	if len(w.orders) != starts {
		t.Errorf("orders in recovery: %v", w.orders[starts:])
	}
	_, err := w.core.moveByHand(w.now, by("g2"), "h3")
	refusedWith(t, err, apierr.Unavailable, "waits for a complete report of h2", "vireo hosts excuse")
	_, err = w.core.grant(w.now, by("g9"), "h3")
	refusedWith(t, err, apierr.Unavailable, "waits for")
	if a := w.startOn("h3", "g9"); a.GetGranted() {
		t.Errorf("granted in recovery: %v", a)
	}
	if cl := w.claim("g1"); cl.Holder != "h1" {
		t.Errorf("claim %+v", cl)
	}
	w.hosts["h2"].reconnect()
	w.pass(5 * time.Second)
	if w.core.recovering() {
		t.Fatal("still in recovery")
	}
	for guest, host := range map[string]string{"g1": "h3", "g2": "h1", "g3": "h1", "new": "h2"} {
		if cl := w.claim(guest); cl.Holder != host || cl.Phase != store.Held || w.where(guest) != host {
			t.Errorf("%s runs on %s, claim %+v", guest, w.where(guest), cl)
		}
	}
	if cl := w.claim("g4"); cl.Epoch != 0 {
		t.Errorf("g4 does not run: %+v", cl)
	}
}

// TestRestoredClaimOfWhatHasMoved: a host whose restored claim is of a guest that
// runs elsewhere by now, and that has an autostart of it to make up for, is not
// told that it holds the guest.
func TestRestoredClaimOfWhatHasMoved(t *testing.T) {
	w := fleet(t)
	file := w.backup()
	w.moved("g1", "h3")
	w.shut("h1", "g1", 128)
	w.hosts["h1"].owes = []string{"uuid-g1"}
	starts := len(w.orders)
	w.restored(file)
	w.until("g1 is claimed where it runs", 20*time.Second, func() bool { return w.claim("g1").Holder == "h3" })
	for _, o := range w.orders[starts:] {
		if o == "h1 confirm uuid-g1" {
			t.Errorf("orders: %v", w.orders[starts:])
		}
	}
	if cl := w.claim("g1"); cl.Phase != store.Held {
		t.Errorf("claim %+v", cl)
	}
}

func TestExcuse(t *testing.T) {
	w := fleet(t)
	file := w.backup()
	w.hosts["h2"].disconnect()
	w.hosts["h3"].disconnect()
	w.restored(file)
	w.pass(2 * time.Second)
	refusedWith(t, w.core.excuse(w.now, "h1", "alice", "x"), apierr.Policy, "has been heard")
	refusedWith(t, w.core.excuse(w.now, "h2", "alice", ""), apierr.Input, "reason")
	if err := w.core.excuse(w.now, "h2", "alice", "in repair"); err != nil || !w.core.recovering() {
		t.Fatalf("%v, recovering %v", err, w.core.recovering())
	}
	w.restart()
	w.pass(2 * time.Second)
	if got := w.core.unheard(); len(got) != 1 || got[0] != "h3" {
		t.Fatalf("the excuse did not outlive the manager: %v", got)
	}
	if _, err := w.core.declareDead(w.now, "h3", "alice", "burnt"); err != nil {
		t.Fatal(err)
	}
	if w.core.recovering() {
		t.Error("still in recovery")
	}
	w.audited("host.excused", "in repair")
	w.pass(2 * time.Second)
	if cl := w.claim("g1"); cl.Holder != "h1" || cl.Phase != store.Held {
		t.Errorf("claim %+v", cl)
	}
}

// TestForgottenMove: the store was put back to before a move began that stands
// between complete and committed. The move is found and ends by the table.
func TestForgottenMove(t *testing.T) {
	for phase, stop := range map[string]int{"copying": 2, "complete": 4} {
		t.Run(phase, func(t *testing.T) {
			w := fleet(t)
			file := w.backup()
			w.hosts["h1"].stallAt = stop
			w.evacuate("h1")
			w.until("g1 is on its way", 20*time.Second, func() bool { d := w.hosts["h1"].domains["uuid-g1"]; return d.progress == stop })
			row := w.row("g1")
			w.restored(file)
			w.hosts["h1"].stallAt = 0
			w.until("it has arrived", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
			if cl := w.claim("g1"); cl.Holder != row.Target || w.where("g1") != row.Target {
				t.Errorf("claim %+v, runs on %s", cl, w.where("g1"))
			}
		})
	}
}

// TestRememberedMove: the store was put back to the middle of a move that has
// ended since, and another one after it.
func TestRememberedMove(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	first, err := w.core.moveByHand(w.now, by("g1"), "h2")
	if err != nil {
		t.Fatal(err)
	}
	w.until("g1 is on its way", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 2 })
	file := w.backup()
	w.hosts["h1"].stallAt = 0
	w.until("g1 has moved", 30*time.Second, func() bool { return w.rows()[first.ID].State == migration.Done })
	second, err := w.core.moveByHand(w.now, by("g1"), "h3")
	if err != nil {
		t.Fatal(err)
	}
	w.until("g1 has moved on", 30*time.Second, func() bool { return w.rows()[second.ID].State == migration.Done })
	w.restored(file)
	w.until("the row has ended", 60*time.Second, func() bool { return w.rows()[first.ID].State.Ended() })
	w.pass(5 * time.Second)
	if cl := w.claim("g1"); cl.Holder != "h3" || cl.Phase != store.Held || w.where("g1") != "h3" {
		t.Errorf("claim %+v, runs on %s, row %+v", cl, w.where("g1"), w.rows()[first.ID])
	}
}

// TestAgentsKnowMore: a store that was put back behind the manager's back is
// found out by what agents have seen, once; two managers do not outbid each other.
func TestAgentsKnowMore(t *testing.T) {
	for name, lie := range map[string]func(w *world){
		"term":  func(w *world) { w.hosts["h1"].term = 40 },
		"epoch": func(w *world) { w.hosts["h1"].domains["uuid-g1"].epoch = w.core.book.epoch + 5 },
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(t)
			w.hosts["h1"].disconnect()
			lie(w)
			w.hosts["h1"].reconnect()
			w.pass(5 * time.Second)
			if w.core.id.Generation != 2 || w.core.recovering() {
				t.Fatalf("identity %+v, recovering %v", w.core.id, w.core.recovering())
			}
			if e := w.events("recovery.began"); len(e) != 1 || e[0].Severity != store.Alarm || !strings.Contains(e[0].Text, "h1's agent knows more") {
				t.Errorf("events %+v", e)
			}
			w.pass(5 * time.Second)
			if cl := w.claim("g1"); cl.Holder != "h1" || w.hosts["h1"].domains["uuid-g1"].epoch != cl.Epoch {
				t.Errorf("claim %+v, the journal is at %d", cl, w.hosts["h1"].domains["uuid-g1"].epoch)
			}
			// Again: now it is another manager's doing.
			w.hosts["h1"].disconnect()
			w.hosts["h1"].generation = 9
			w.hosts["h1"].away = false
			w.hosts["h1"].connect()
			w.settle()
			if w.core.hosts["h1"].session != nil || w.core.id.Generation != 2 {
				t.Errorf("generation %d, a session %v", w.core.id.Generation, w.core.hosts["h1"].session != nil)
			}
		})
	}
}

// TestForgottenMoveOfWhatRunsElsewhere: two hosts still know a move that the store
// has forgotten, and the guest runs on a third one: the move was over.
func TestForgottenMoveOfWhatRunsElsewhere(t *testing.T) {
	w := fleet(t)
	file := w.backup()
	at := map[string]*fakeDomain{
		"h1": {role: agentv1.Role_ROLE_SOURCE, state: agentv1.AttemptState_ATTEMPT_STATE_STARTED, call: agentv1.Call_CALL_ENDED, gone: agentv1.Gone_GONE_BY_THE_MOVE},
		"h2": {role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED},
		"h3": {proc: running, persistent: true},
	}
	for name, d := range at {
		d.name, d.memory = "g1", 128<<10
		if name != "h3" {
			d.attempt, d.phase, d.epoch = "m-lost", agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING, w.claim("g1").Epoch
		}
		w.hosts[name].domains["uuid-g1"] = d
	}
	w.restored(file)
	w.until("g1 is claimed where it runs", 20*time.Second, func() bool { cl := w.claim("g1"); return cl.Holder == "h3" && cl.Phase == store.Held })
	if rows := w.rows(); len(rows) != 0 {
		t.Errorf("reopened: %v", rows)
	}
}
