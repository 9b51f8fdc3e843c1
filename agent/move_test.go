package agent

import (
	"testing"

	"github.com/vireo-kvm/vireo/migration"
)

func TestMove(t *testing.T) {
	w := newWorld(t, "A", "B")
	w.boot("A")
	b := newBoss(w, "A", "B")
	w.until("the move is over", func() bool { return b.row.State.Ended() })
	if b.row.State != migration.Done {
		t.Errorf("row is %s (%s), want done", b.row.State, b.row.Outcome)
	}
	b.rightly()
}
