package agent

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// TestStrangerIsComplete: what the target's agent remembers of attempts long ago
// does not hide that the copy of a forgotten one is complete.
func TestStrangerIsComplete(t *testing.T) {
	for name, old := range map[string]*journal.Attempt{
		"none":               nil,
		"one that came":      {ID: "m0", Role: journal.Target, Stage: journal.Ended, Arrival: &journal.Arrival{Complete: true, Resumed: true}},
		"one that was void":  {ID: "m0", Role: journal.Target, Stage: journal.Void, Arrival: &journal.Arrival{}},
		"only that one void": {ID: "m0", Stage: journal.Void},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, b := arrive(t)
			b.kill()
			b.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
			b.start()
			b.core.domain(guest).Attempt = old
			b.open(5)
			if d := b.sees(); d.GetPause() != agentv1.Pause_PAUSE_UNSPECIFIED || !d.GetComplete() {
				t.Errorf("pause %s, complete %t: want nobody's, and complete", d.GetPause(), d.GetComplete())
			}
			b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
		})
	}
}

// TestVoidOfWhatIsHeld: the journal of the arrival is lost, the claim has been
// confirmed since, and the owner pauses the guest. A void that comes late does not
// take it for a copy that has never run.
func TestVoidOfWhatIsHeld(t *testing.T) {
	w, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.kill()
	b.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
	b.start()
	b.open(5)
	b.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	if err := b.conn().Suspend(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	b.mustSay(t, refusedOutcome, "holds the claim", say(13, "m1", &agentv1.Void{}))
	if n := len(w.fleet.Guests()); n != 1 {
		t.Errorf("%d processes, want the guest's", n)
	}
}
