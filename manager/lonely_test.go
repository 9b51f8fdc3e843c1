package manager

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// TestCopyThatNobodyConducts: somebody is told of it once, and what it may be: the
// last copy of a guest is not called old.
func TestCopyThatNobodyConducts(t *testing.T) {
	for name, tt := range map[string]struct{ runs, want string }{
		"the guest runs elsewhere": {"h1", "old memory, h1 holds the guest's claim"},
		"the guest runs nowhere":   {"", "the guest runs nowhere, it may be all that is left of it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "h1", "h2")
			if tt.runs != "" {
				w.guest(tt.runs, "g1", 128)
			}
			w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{
				name: "g1", memory: 128 << 10, proc: stopped, guard: true, complete: true, live: "m-old", attempt: "m-old",
				role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED,
			}
			w.pass(2 * time.Second)
			if es := w.events("copy.left"); len(es) != 0 {
				t.Errorf("told at once: %v", es)
			}
			w.pass(20 * time.Second)
			es := w.events("copy.left")
			if len(es) != 1 || es[0].Severity != store.Alarm || es[0].Host != "h2" || es[0].Migration != "m-old" || !strings.Contains(es[0].Text, tt.want) {
				t.Errorf("told %+v, want once %q", es, tt.want)
			}
			if ls := w.core.leftovers(); len(ls) != 1 || !strings.Contains(ls[0].What, tt.want) {
				t.Errorf("left over: %v", ls)
			}
			if tt.runs != "" { // then it ends there: the copy may be all that is left
				w.hosts[tt.runs].domains["uuid-g1"].proc = none
				w.pass(10 * time.Second)
				if es := w.events("copy.left"); len(es) != 2 || !strings.Contains(es[1].Text, "all that is left") {
					t.Errorf("told %+v", es)
				}
			}
			if d := w.hosts["h2"].domains["uuid-g1"]; d.proc != stopped {
				t.Errorf("the copy is %q", d.proc)
			}
		})
	}
}

// TestRestoredClaimOverACopy: the restored store says that a host holds the guest
// of which it keeps a paused copy. That makes the copy no guest: nobody confirms
// it, and when a person lets it run it is the claim's.
func TestRestoredClaimOverACopy(t *testing.T) {
	w := newWorld(t, "h1", "h2")
	w.guest("h2", "g1", 128)
	w.until("the claim is there", 5*time.Second, func() bool { return w.claim("g1").Holder == "h2" })
	d := &fakeDomain{
		name: "g1", memory: 128 << 10, proc: stopped, guard: true, complete: true, live: "m-old", attempt: "m-old",
		role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED, phase: agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING,
	}
	w.hosts["h2"].domains["uuid-g1"] = d
	confirmed := w.sent("h2", "confirm")
	w.pass(20 * time.Second)
	if n := w.sent("h2", "confirm") - confirmed; n != 0 || len(w.events("copy.left")) != 1 {
		t.Errorf("%d times confirmed, told %v", n, w.events("copy.left"))
	}
	d.proc, d.guard = running, false // virsh resume
	w.until("it is confirmed", 10*time.Second, func() bool { return d.phase == agentv1.ClaimPhase_CLAIM_PHASE_HELD && d.epoch == w.claim("g1").Epoch })
}

// TestCopyOfAForgottenMove: its agent has lost its journal. One that came with a
// move which the store knows as done is the guest, as its owner has paused it; any
// other is nobody's, and somebody is told.
func TestCopyOfAForgottenMove(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has moved", time.Minute, func() bool { return w.row("g1").State == migration.Done })
	row := w.row("g1")
	d := w.hosts[row.Target].domains["uuid-g1"]
	*d = fakeDomain{name: "g1", memory: d.memory, persistent: true, autostart: d.autostart, proc: stopped, forgotten: true, complete: true, live: row.ID}
	w.until("it is confirmed", 10*time.Second, func() bool { return d.phase == agentv1.ClaimPhase_CLAIM_PHASE_HELD })
	w.hosts["h1"].domains["uuid-x"] = &fakeDomain{name: "x", memory: 128 << 10, proc: stopped, forgotten: true, complete: true, live: "m-lost"}
	w.pass(20 * time.Second)
	if cl := w.core.claims["uuid-x"]; cl != nil {
		t.Errorf("adopted: %+v", cl)
	}
	if es := w.events("copy.left"); len(es) != 1 || es[0].Domain != "uuid-x" {
		t.Errorf("told %+v", es)
	}
}
