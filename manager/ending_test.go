package manager

import (
	"slices"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// TestGuestEndsBehindTheSwitch: gone from the source with its definition, and
// the target's copy dies before the claim has moved. What came with the attempt
// is all that is left to start the guest from, and is not to be removed.
func TestGuestEndsBehindTheSwitch(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has stopped", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 3 })
	row := w.row("g1")
	target := w.hosts[row.Target]
	target.disconnect()
	w.until("its definition has gone with the call", 5*time.Second, func() bool { return !w.hosts["h1"].domains["uuid-g1"].persistent })
	copied := target.domains["uuid-g1"]
	copied.proc, copied.live, copied.guard, copied.complete = none, "", false, false
	target.reconnect()
	w.until("the row ends", 20*time.Second, func() bool { return w.rows()[row.ID].State == migration.Failed })
	w.until("nothing is owed", 20*time.Second, func() bool { return len(w.core.owed) == 0 })
	if !copied.persistent || !copied.autostart {
		t.Errorf("on %s: defined %t, autostart %t; it was defined with autostart on h1", row.Target, copied.persistent, copied.autostart)
	}
}

// TestGuestEndsAfterItsArrival: it shuts down before it was seen running. Its
// autostart follows all the same: it will be started again.
func TestGuestEndsAfterItsArrival(t *testing.T) {
	w := fleet(t)
	lost := false
	w.lose = func(_ string, o *agentv1.Order) bool { // the first settle
		lost = lost || o.GetSettle() != nil
		return o.GetSettle() != nil && w.where("g1") != ""
	}
	w.evacuate("h1")
	w.until("g1 has arrived", 20*time.Second, func() bool { return lost && w.row("g1").State == migration.Committing })
	row := w.row("g1")
	arrived := w.hosts[row.Target].domains["uuid-g1"]
	arrived.proc = none
	w.hosts[row.Target].sight("uuid-g1")
	w.lose = nil
	w.until("the row ends", 60*time.Second, func() bool { return w.rows()[row.ID].State.Ended() })
	if !arrived.persistent || !arrived.autostart || w.hosts["h1"].domains["uuid-g1"].persistent {
		t.Errorf("%s: defined %t, autostart %t; h1: defined %t", row.Target, arrived.persistent, arrived.autostart, w.hosts["h1"].domains["uuid-g1"].persistent)
	}
}

// TestVoidAndYetArrived: the source has voided the attempt, and then somebody
// moved the guest by hand. A void attempt stays void; the row ends all the same.
func TestVoidAndYetArrived(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has arrived", 20*time.Second, func() bool { return w.row("g1").State == migration.Committing })
	row := w.row("g1")
	w.hosts["h1"].domains["uuid-g1"].state = agentv1.AttemptState_ATTEMPT_STATE_VOID
	w.hosts[row.Target].domains["uuid-g1"].state = agentv1.AttemptState_ATTEMPT_STATE_VOID
	w.until("the row ends", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
}

// TestDoneSaysWhatIsTrue: what the source's call has returned, or that nobody
// heard it, is a step of a move that is done, and no reason.
func TestDoneSaysWhatIsTrue(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.until("g1 has arrived", 20*time.Second, func() bool { return w.claim("g1").Holder == w.row("g1").Target })
	const lost = "its answer was lost with the agent"
	w.hosts["h1"].domains["uuid-g1"].callError = lost
	w.hosts["h1"].sight("uuid-g1")
	w.until("g1's row ends", 30*time.Second, func() bool { return w.row("g1").State.Ended() })
	row := w.row("g1")
	if row.State != migration.Done || row.Outcome != "runs on the target, definition and autostart with it" {
		t.Errorf("%s: %q", row.State, row.Outcome)
	}
	if !slices.ContainsFunc(row.Steps, func(s migration.Step) bool { return s.Name == "libvirt says" && s.Detail == lost }) {
		t.Errorf("no step says what the call came to: %+v", row.Steps)
	}
}

// TestStoryNamesTheLines: the steps of a move say which lines of the table it came
// to, and which order followed from which, each once.
func TestStoryNamesTheLines(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].loseFinish = true
	w.evacuate("h1")
	w.until("g1 is rolled back", 60*time.Second, func() bool { return w.row("g1").State == migration.RolledBack })
	told := map[string]int{}
	for _, s := range w.row("g1").Steps {
		told[s.Name+": "+s.Detail]++
	}
	target := w.row("g1").Target
	for _, want := range []string{
		"aborting: the source runs on, the target keeps a paused copy (line 4)", "ordered void: h1 (line 4)", "ordered void: " + target + " (line 4)",
		"claim held by source: the source runs on, nothing is on the target (line 3)",
	} {
		if told[want] != 1 {
			t.Errorf("%q is told %d times in %v", want, told[want], w.row("g1").Steps)
		}
	}
}

func TestOutcomeInWords(t *testing.T) {
	said := &agentv1.Domain{Attempt: "m-1", CallError: "operation failed: no answer"}
	for _, tt := range []struct {
		state  migration.State
		abort  string
		source *agentv1.Domain
		want   string
	}{
		{migration.Done, "", said, "why"},
		{migration.Done, "aborted by bob: changed my mind", nil, "why; too late to be given up: aborted by bob: changed my mind"},
		{migration.RolledBack, "", nil, "why"},
		{migration.RolledBack, "", said, "libvirt: operation failed: no answer"},
		{migration.RolledBack, "", &agentv1.Domain{Attempt: "m-0", CallError: "of another move"}, "why"},
		{migration.RolledBack, "aborted by bob: changed my mind", said, "aborted by bob: changed my mind (libvirt: operation failed: no answer)"},
	} {
		m := newMove(migration.Row{ID: "m-1", AbortReason: tt.abort})
		if got := m.outcomeOf(tt.state, tt.source, "why"); got != tt.want {
			t.Errorf("%s, %q, %v: %q, want %q", tt.state, tt.abort, tt.source, got, tt.want)
		}
	}
}

// TestSourceHoldsWhatCameBack: the arrival was committed, somebody has started the
// guest on the source all the same, and the target's copy has ended. The claim is
// the source's again, which runs it, and not the target's.
func TestSourceHoldsWhatCameBack(t *testing.T) {
	w := fleet(t)
	w.lose = func(_ string, o *agentv1.Order) bool { return o.GetSettle() != nil } // so that the row stays open
	w.evacuate("h1")
	w.until("g1 has arrived", 20*time.Second, func() bool { return w.row("g1").State == migration.Committing && w.where("g1") != "h1" })
	row := w.row("g1")
	source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts[row.Target].domains["uuid-g1"]
	w.until("the source's call has ended", 5*time.Second, func() bool { return source.call == agentv1.Call_CALL_ENDED })
	source.planted, target.planted = true, true
	source.proc, source.moved = running, false
	w.hosts["h1"].sight("uuid-g1")
	w.until("it is ambiguous", 5*time.Second, func() bool { return w.claim("g1").Phase == store.Ambiguous })
	if holder := w.claim("g1").Holder; holder != row.Target {
		t.Fatalf("%s was the holder of the arrival", holder)
	}
	target.proc = none
	w.hosts[row.Target].sight("uuid-g1")
	w.until("the row ends", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.RolledBack })
	// By the row's own end, not by an adoption after nobody had held it.
	if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h1" || cl.GrantedBy != "migration "+row.ID {
		t.Errorf("the claim is %s by %s, by %s; it runs on h1", cl.Phase, cl.Holder, cl.GrantedBy)
	}
}

// TestPausedBeforeItsRowKnew: its owner pauses the guest while the order to move it
// is on its way. It arrives as it left, and nobody resumes it.
func TestPausedBeforeItsRowKnew(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	w.evacuate("h1")
	w.until("g1 moves", 10*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 2 })
	row := w.row("g1")
	if row.Before.Paused {
		t.Fatal("it ran when its row was written")
	}
	source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts[row.Target].domains["uuid-g1"]
	source.proc = stopped // by its owner, before the agent was told to move it
	w.hosts["h1"].sight("uuid-g1")
	w.settle()
	w.restart()
	source.proc, source.job, source.call, source.persistent = none, false, agentv1.Call_CALL_ENDED, false
	source.gone = agentv1.Gone_GONE_BY_THE_MOVE
	target.complete, target.job = true, false
	w.until("the row ends", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.Done })
	if target.proc != stopped || w.sent(row.Target, "resume") != 0 {
		t.Errorf("its owner had paused it, and it is %q on %s; %d orders to resume", target.proc, row.Target, w.sent(row.Target, "resume"))
	}
}
