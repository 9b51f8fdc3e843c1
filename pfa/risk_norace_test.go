//go:build !race

package pfa

import "testing"

// TestRiskAllocatesNothing: the front door reuses its rooms. (The race detector
// makes a sync.Pool forget some of them on purpose.)
func TestRiskAllocatesNothing(t *testing.T) {
	m := defaultModel(t)
	s, last := livedState(t, "Z300V1RR")
	if n := testing.AllocsPerRun(200, func() { m.Risk(s, last) }); n >= 1 {
		t.Errorf("a score allocates %g times", n)
	}
}
