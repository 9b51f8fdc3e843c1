//go:build !race

package sim

import (
	"fmt"
	"testing"
)

// days is how many days TestDays runs by itself.
const days = 40

// TestSameSeedSameDay: what cannot be repeated cannot be understood.
func TestSameSeedSameDay(t *testing.T) {
	for _, tt := range []struct {
		managers int
		seed     uint64
	}{{1, 1}, {1, 2}, {2, 1}} {
		t.Run(fmt.Sprintf("seed %d, managers %d", tt.seed, tt.managers), func(t *testing.T) {
			t.Parallel()
			a, b := runWith(t, tt.managers, tt.seed, 1, nil), runWith(t, tt.managers, tt.seed, 1, nil)
			if a.Hash != b.Hash || a.Events != b.Events {
				t.Errorf("%d events with hash %016x, then %d with %016x", a.Events, a.Hash, b.Events, b.Hash)
			}
		})
	}
}
