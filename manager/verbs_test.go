package manager

import (
	"errors"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

func by(guest string) verb {
	return verb{domain: "uuid-" + guest, who: "alice", reason: "a test wants it"}
}

func forced(guest string) verb {
	v := by(guest)
	v.force = true
	return v
}

// refusedWith fails unless err is a refusal of that kind that says all of this.
func refusedWith(t *testing.T, err error, kind apierr.Kind, says ...string) {
	t.Helper()
	var e *apierr.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want a refusal of kind %s", err, kind)
	}
	for _, s := range says {
		if !strings.Contains(e.Text, s) {
			t.Errorf("it does not say %q: %s", s, e.Text)
		}
	}
}

// shut puts a defined guest that does not run on a host.
func (w *world) shut(host, name string, mib uint64) {
	w.guest(host, name, mib)
	w.hosts[host].domains["uuid-"+name].proc = none
}

// audited fails unless alice is in the record for this.
func (w *world) audited(kind, text string) {
	w.t.Helper()
	w.pass(time.Second)
	for _, e := range w.events(kind) {
		if e.Who == "alice" && strings.Contains(e.Text, text) {
			return
		}
	}
	w.t.Errorf("no %s by alice that says %q: %+v", kind, text, w.events(kind))
}

func TestGrantWaitsForTheStart(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "x", 512)
	w.pass(time.Second)
	cl, err := w.core.grant(w.now, by("x"), "h2")
	if err != nil || cl.Holder != "h2" || cl.MemoryKiB != 512<<10 {
		t.Fatalf("%+v, %v", cl, err)
	}
	w.settle()
	d := w.hosts["h2"].domains["uuid-x"]
	if d.phase != agentv1.ClaimPhase_CLAIM_PHASE_HELD || d.epoch != cl.Epoch {
		t.Fatalf("h2's journal says %s, epoch %d", d.phase, d.epoch)
	}
	w.pass(time.Minute)
	w.restart()
	w.pass(5 * time.Second)
	if got := w.claim("x"); got.Holder != "h2" || got.Phase != store.Held {
		t.Fatalf("it did not wait for the start: %+v", got)
	}
	w.audited("claim.granted", "to h2, epoch")
	d.proc = running
	w.pass(3 * time.Second)
	if got := w.claim("x"); got.Seen.IsZero() || got.Epoch <= cl.Epoch {
		t.Errorf("it was not seen to run: %+v", got)
	}
	d.proc = none
	w.pass(3 * time.Second)
	if got := w.claim("x"); got.Epoch != 0 {
		t.Errorf("after its first run it is a claim like any other: %+v", got)
	}
}

func TestGrantRefusals(t *testing.T) {
	w := fleet(t)
	w.shut("h2", "x", 512)
	w.shut("h3", "huge", 1<<20)
	w.pass(time.Second)
	grant := func(v verb, host string) error { _, err := w.core.grant(w.now, v, host); return err }
	refusedWith(t, grant(verb{domain: "uuid-x", who: "alice"}, "h2"), apierr.Input, "reason")
	refusedWith(t, grant(by("x"), "h9"), apierr.NotFound, "no host h9")
	refusedWith(t, grant(by("g1"), "h2"), apierr.Claim, "h1 holds the claim of g1 (epoch ", "since 2026-03-01 12:0", "vireo claims release")
	refusedWith(t, grant(forced("g1"), "h2"), apierr.Claim, "h1 holds the claim of g1")
	refusedWith(t, grant(forced("huge"), "h3"), apierr.Policy, "may have", "no flag")

	w.read("h2", 15)
	w.until("h2 is quarantined", 10*time.Second, func() bool { return w.state("h2") == store.Quarantined })
	refusedWith(t, grant(by("x"), "h2"), apierr.Policy, "h2 cannot be given x: it is quarantined", "better: h3", "--force grants it all the same")
	if err := grant(forced("x"), "h2"); err != nil {
		t.Errorf("with --force: %v", err)
	}
	w.hosts["h3"].disconnect()
	w.shut("h1", "y", 1)
	w.pass(2 * time.Second)
	refusedWith(t, grant(forced("y"), "h3"), apierr.Policy, "h3 cannot be given y: it is unknown", "--force does not change that")
}

func TestReleaseByHand(t *testing.T) {
	w := fleet(t)
	release := func(v verb) error { _, _, err := w.core.releaseByHand(w.now, v); return err }
	refusedWith(t, release(by("none")), apierr.NotFound, "nobody holds a claim")
	refusedWith(t, release(forced("g1")), apierr.Claim, "g1 is running on h1", "never stops a guest")

	w.shut("h2", "x", 512)
	w.pass(time.Second)
	if _, err := w.core.grant(w.now, by("x"), "h2"); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if err := release(by("x")); err != nil {
		t.Fatal(err)
	}
	w.until("h2 has given it up", 5*time.Second, func() bool { return w.claim("x").Epoch == 0 })
	if d := w.hosts["h2"].domains["uuid-x"]; d.phase != agentv1.ClaimPhase_CLAIM_PHASE_RELEASED {
		t.Errorf("h2's journal says %s", d.phase)
	}
	w.audited("claim.release", "h2 is asked to give it up")

	w.hosts["h1"].disconnect()
	refusedWith(t, release(by("g1")), apierr.Claim, "h1 is unknown", "--force", "declare-dead h1")
	if err := release(forced("g1")); err != nil || w.claim("g1").Epoch != 0 {
		t.Errorf("with --force: %v, %+v", err, w.claim("g1"))
	}
	w.audited("claim.released", "the silent h1")
	w.hosts["h1"].reconnect() // it had run all the time: what runs is adopted again
	w.pass(2 * time.Second)
	if cl := w.claim("g1"); cl.Holder != "h1" || cl.Phase != store.Held {
		t.Errorf("claim %+v", cl)
	}
}

func TestMoveByHand(t *testing.T) {
	w := fleet(t)
	move := func(v verb, to string) (migration.Row, error) { return w.core.moveByHand(w.now, v, to) }
	_, err := move(by("g1"), "h1")
	refusedWith(t, err, apierr.Claim, "h1 holds the claim of g1", "already")
	_, err = move(by("none"), "h2")
	refusedWith(t, err, apierr.NotFound, "nobody holds")

	row, err := move(by("g1"), "h3")
	if err != nil || row.Target != "h3" {
		t.Fatalf("%+v, %v", row, err)
	}
	_, err = move(by("g1"), "h2")
	refusedWith(t, err, apierr.Claim, "on its way from h1 to h3")
	w.until("g1 has moved", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
	if w.where("g1") != "h3" || w.claim("g1").Holder != "h3" {
		t.Errorf("g1 runs on %s, claim %+v", w.where("g1"), w.claim("g1"))
	}
	w.audited("migration.planned", "h1 → h3: a test wants it")

	w.read("h2", 15)
	w.until("h2 is quarantined", 10*time.Second, func() bool { return w.state("h2") == store.Quarantined })
	_, err = move(by("g2"), "h2")
	refusedWith(t, err, apierr.Policy, "h2 cannot take g2: it is quarantined", "better: h3", "--force moves it there")
	if row, err = move(forced("g2"), "h2"); err != nil {
		t.Fatal(err)
	}
	w.until("g2 has moved to the host that was forced", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
	if w.where("g2") != "h2" {
		t.Errorf("g2 runs on %s", w.where("g2"))
	}
}

// TestDeadHost: a person's word releases what a silent host held, and nothing
// but it does; when the host speaks in the same boot the word was wrong.
func TestDeadHost(t *testing.T) {
	w := fleet(t)
	declare := func(host, reason string) error {
		_, err := w.core.declareDead(w.now, host, "alice", reason)
		return err
	}
	refusedWith(t, declare("h1", "burnt"), apierr.Policy, "h1 is not dead", "connected")
	w.hosts["h1"].disconnect()
	refusedWith(t, declare("h1", ""), apierr.Input, "reason")
	w.pass(time.Minute)
	if w.claim("g1").Holder != "h1" {
		t.Fatal("silence has released a claim")
	}
	if err := declare("h1", "burnt"); err != nil {
		t.Fatal(err)
	}
	if n := len(w.core.claims); n != 0 {
		t.Fatalf("%d claims are left", n)
	}
	w.restart()
	w.pass(time.Second)
	if !w.core.hosts["h1"].dead() {
		t.Fatal("the word did not outlive the manager")
	}
	w.audited("host.dead", "4 claims released")
	w.shut("h2", "g1", 128)
	w.pass(2 * time.Second)
	if _, err := w.core.grant(w.now, by("g1"), "h2"); err != nil {
		t.Fatal(err)
	}
	w.hosts["h2"].domains["uuid-g1"].proc = running
	w.hosts["h2"].domains["uuid-g1"].planted, w.hosts["h1"].domains["uuid-g1"].planted = true, true
	w.pass(2 * time.Second)
	w.hosts["h1"].reconnect() // it was never dead
	w.pass(2 * time.Second)
	if cl := w.claim("g1"); cl.Phase != store.Ambiguous {
		t.Errorf("both run, the claim is %+v", cl)
	}
	if e := w.events("host.undead"); len(e) != 1 || e[0].Severity != store.Alarm {
		t.Errorf("no alarm: %+v", e)
	}
}

// half brings g1's move to line 8: complete and paused on its target, its source
// powered off before anybody saw how it ended there.
func half(t *testing.T) (*world, migration.Row) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 4
	w.evacuate("h1")
	w.until("g1's copy is complete", 20*time.Second, func() bool {
		r := w.row("g1")
		return r.ID != "" && w.hosts[r.Target].domains["uuid-g1"] != nil && w.hosts[r.Target].domains["uuid-g1"].complete
	})
	row := w.row("g1")
	w.hosts["h1"].disconnect()
	for _, d := range w.hosts["h1"].domains {
		d.proc = none
	}
	w.pass(10 * time.Second)
	_, err := w.core.resolveCopy(w.now, by("g1"), migration.ChoseResume)
	refusedWith(t, err, apierr.Policy, "the source is silent", "declare-dead h1")
	if _, err := w.core.declareDead(w.now, "h1", "alice", "power read back as off"); err != nil {
		t.Fatal(err)
	}
	w.pass(10 * time.Second)
	if got := w.rows()[row.ID]; got.State != migration.Unclear {
		t.Fatalf("the move is %s: %s", got.State, w.core.moves[row.ID].waiting)
	}
	return w, row
}

func TestAPersonResumesTheCopy(t *testing.T) {
	w, row := half(t)
	if _, err := w.core.resolveCopy(w.now, by("g1"), migration.ChoseResume); err != nil {
		t.Fatal(err)
	}
	w.until("it is the guest", 20*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
	if cl := w.claim("g1"); w.where("g1") != row.Target || cl.Holder != row.Target || cl.Phase != store.Held {
		t.Errorf("runs on %s, claim %+v", w.where("g1"), cl)
	}
	w.audited("claim.resolved", "resume chosen")
}

func TestAPersonDiscardsTheCopy(t *testing.T) {
	w, row := half(t)
	if _, err := w.core.resolveCopy(w.now, by("g1"), migration.ChoseDiscard); err != nil {
		t.Fatal(err)
	}
	w.restart() // the choice outlives the manager
	w.until("it is gone", 20*time.Second, func() bool { return w.rows()[row.ID].State == migration.Failed })
	if d := w.hosts[row.Target].domains["uuid-g1"]; d.proc != none || w.claim("g1").Epoch != 0 {
		t.Errorf("the copy is %s, claim %+v", d.proc, w.claim("g1"))
	}
}

func TestResolveAmbiguous(t *testing.T) {
	w := fleet(t)
	w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", proc: running, persistent: true, memory: 128 << 10, planted: true}
	w.hosts["h1"].domains["uuid-g1"].planted = true
	refusedWith(t, w.core.resolveHolder(w.now, by("g1"), "h1"), apierr.Claim, "not ambiguous")
	w.pass(2 * time.Second)
	refusedWith(t, w.core.resolveHolder(w.now, forced("g1"), "h1"), apierr.Claim, "g1 is running on h2", "virsh destroy")
	w.hosts["h2"].disconnect()
	w.pass(time.Minute)
	refusedWith(t, w.core.resolveHolder(w.now, by("g1"), "h1"), apierr.Claim, "h2", "--force", "declare-dead")
	refusedWith(t, w.core.resolveHolder(w.now, forced("g1"), ""), apierr.Claim, "g1 is running on h1")
	w.hosts["h2"].domains["uuid-g1"].proc = none
	if err := w.core.resolveHolder(w.now, forced("g1"), "h1"); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Second)
	if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h1" {
		t.Errorf("claim %+v", cl)
	}
	w.audited("claim.resolved", "held by h1")
}
