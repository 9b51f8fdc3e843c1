package pfa

import (
	"testing"
	"time"
)

// livedState is the state of a recorded drive at the end of its recording.
func livedState(t *testing.T, serial string) (*State, time.Time) {
	full := recorded(t, serial)
	last := full.Days[len(full.Days)-1].Date
	s := NewState("disk:" + full.Serial)
	for _, r := range full.Readings("h1", last) {
		s.Observe(r)
	}
	return s, last
}

// TestScoringAllocatesNothing: what is done for every component of every host,
// over and over, leaves no garbage.
func TestScoringAllocatesNothing(t *testing.T) {
	m := defaultModel(t)
	s, last := livedState(t, "Z300V1RR")
	in := newInputs()
	at := s.axisAt(last)
	if n := testing.AllocsPerRun(200, func() { m.ata.extract(s, at, in); m.ata.score(in).risk() }); n != 0 {
		t.Errorf("a score allocates %g times", n)
	}
	v := 0.0
	if n := testing.AllocsPerRun(200, func() { v++; s.observe(at, ataCounters[cPending], v, 0) }); n != 0 {
		t.Errorf("an observation allocates %g times", n)
	}
}
