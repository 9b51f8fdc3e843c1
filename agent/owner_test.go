package agent

import (
	"testing"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// TestOwnersPauseIsSeenOnTheWay: who has paused a guest that leaves is said while
// it leaves and after it has gone, also of one that an earlier move has brought,
// and when its owner acts in the middle of the move.
func TestOwnersPauseIsSeenOnTheWay(t *testing.T) {
	for name, tt := range map[string]struct {
		before, during string
		want           agentv1.Pause
	}{
		"paused before":              {"suspend", "", agentv1.Pause_PAUSE_OWNER},
		"paused on the way":          {"", "suspend", agentv1.Pause_PAUSE_OWNER},
		"only stopped by the switch": {"", "", agentv1.Pause_PAUSE_UNSPECIFIED},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := arrive(t) // on B, by the attempt m1
			b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
			b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{Keep: true}))
			a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
			act := func(what string) {
				t.Helper()
				if what == "" {
					return
				}
				if err := b.conn().Suspend(t.Context(), guest); err != nil {
					t.Fatal(err)
				}
			}
			act(tt.before)
			a.mustSay(t, doneOutcome, "", say(13, "m2", a.prepares()))
			b.mustSay(t, begunOutcome, "", say(13, "m2", &agentv1.Move{Target: "A", PeerUri: w.fleet.Host("A").URI()}))
			w.until("it transfers", func() bool { return b.sees().GetJob() != nil })
			act(tt.during)
			w.settle()
			if got := b.sees().GetPause(); got != tt.want {
				t.Errorf("on its way: %s, want %s", got, tt.want)
			}
			w.until("it has gone", func() bool { return b.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
			if got := b.sees().GetPause(); got != tt.want {
				t.Errorf("gone: %s, want %s", got, tt.want)
			}
		})
	}
}
