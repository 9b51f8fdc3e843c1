package pfa

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// scatter makes a state with random counters.
func scatter(random *rand.Rand) (*State, Axis) {
	s := NewState("disk:A")
	s.setModel("ST4000DM000")
	s.protocol = "ATA"
	t := Axis(400000)
	for range 6 {
		t += Axis(random.IntN(400))
		for _, index := range ataCounters {
			if random.IntN(3) > 0 {
				s.observe(t, index, float64(random.IntN(40)), 0)
			}
		}
		s.observe(t, hoursIndex, float64(random.IntN(40000)), 0)
	}
	return s, t
}

// What a tree said of the row before changes nothing of what is said of this one.
func TestExplanationsAreRememberedRightly(t *testing.T) {
	m := defaultModel(t).ata
	random := rand.New(rand.NewPCG(1, 2))
	kept := newInputs()
	for range 60 {
		s, at := scatter(random)
		for range 2 { // the second time all is remembered
			fresh := newInputs()
			m.extract(s, at, kept)
			m.extract(s, at, fresh)
			if a, b := m.contributions(kept), m.contributions(fresh); a != b {
				t.Fatalf("remembered %+v, fresh %+v", a, b)
			}
		}
	}
}

// BenchmarkExplain is the whole verdict of a component with its Shapley values,
// none of which is remembered: at most a millisecond is asked for.
func BenchmarkExplain(b *testing.B) {
	m := defaultModel(b)
	s, _ := lived(b, "Z300V1RR")
	latest, _ := s.Latest()
	v := Verdict{}
	for b.Loop() {
		in := newInputs()
		m.ata.extract(s, s.latest, in)
		v.Reasons = m.ata.explain(s, s.latest, in, m.ata.score(in))
	}
	if len(v.Reasons) == 0 || latest.Equal(time.Time{}) {
		b.Fatal("no reasons", signal.OK)
	}
}
