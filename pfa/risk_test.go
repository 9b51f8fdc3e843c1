package pfa

import "testing"

// TestRiskAllocatesNothing: what is done for every component of every host, over
// and over, leaves no garbage.
func TestRiskAllocatesNothing(t *testing.T) {
	m := defaultModel(t)
	full := recorded(t, "Z300V1RR")
	last := full.Days[len(full.Days)-1].Date
	s := NewState("disk:" + full.Serial)
	readings := full.Readings("h1", last)
	for _, r := range readings {
		s.Observe(r)
	}
	if n := testing.AllocsPerRun(200, func() { m.Risk(s, last) }); n >= 1 {
		t.Errorf("a score allocates %g times", n)
	}
	if n := testing.AllocsPerRun(200, func() { s.Observe(readings[len(readings)-1]) }); n != 0 {
		t.Errorf("an observation allocates %g times", n)
	}
}
