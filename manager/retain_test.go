package manager

import (
	"fmt"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// TestOldEventsAreForgotten: what happened goes after ninety days, what people did
// after two years, in pieces that a claim never waits long for.
func TestOldEventsAreForgotten(t *testing.T) {
	w := fleet(t)
	w.core.pol.Pace.Retain = time.Minute
	ago := func(d time.Duration) time.Time { return w.now.Add(-d) }
	const day = 24 * time.Hour
	old := []store.Event{
		{Kind: "kept", At: ago(89 * day)},
		{Kind: "kept", At: ago(91 * day), Who: "alice"},
		{Kind: "kept", At: ago(730 * day), Who: "alice"},
		{Kind: "gone", At: ago(91 * day)},
		{Kind: "gone", At: ago(733 * day), Who: "alice"},
	}
	for i := range forgetBatch + 10 { // more than one piece
		old = append(old, store.Event{Kind: "gone", At: ago(200 * day), Text: fmt.Sprint(i)})
	}
	if err := w.store.Update(t.Context(), func(tx store.Tx) error {
		for _, e := range old {
			e.Severity = store.Info
			if _, err := tx.AppendEvent(e); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	left := func() map[string]int {
		n := map[string]int{}
		if err := w.store.View(t.Context(), func(r store.Reader) error {
			all, err := r.Events(store.EventFilter{})
			for _, e := range all {
				n[e.Kind]++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := left(); n["gone"] != forgetBatch+12 || n["kept"] != 3 {
		t.Fatalf("before: %v", n)
	}
	w.pass(time.Minute + 2*time.Second)
	if n := left(); n["gone"] != 0 || n["kept"] != 3 {
		t.Errorf("after a pass of retain: %d of what is too old, %d of 3 that are not", n["gone"], n["kept"])
	}
}
