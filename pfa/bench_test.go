package pfa

import (
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// lived is the state of a drive at the end of its recording.
func lived(b *testing.B, serial string) (*State, time.Time) {
	r := recorded(b, serial)
	last := r.Days[len(r.Days)-1].Date
	s := NewState(signal.DiskComponent(serial))
	for _, x := range r.Readings("h1", last) {
		s.Observe(x)
	}
	return s, last.Add(12 * time.Hour)
}

func BenchmarkScore(b *testing.B) {
	m := defaultModel(b)
	s, at := lived(b, "Z300V1RR")
	b.ReportAllocs()
	for b.Loop() {
		m.Score(s, at)
	}
}

func BenchmarkObserve(b *testing.B) {
	s, at := lived(b, "Z300V1RR")
	v := 5.0
	r := signal.Reading{Component: s.component, Signal: signal.SmartPendingSectors, Value: &v, ObservedAt: at, Status: signal.OK}
	b.ReportAllocs()
	for b.Loop() {
		v++
		r.ObservedAt = r.ObservedAt.Add(time.Second)
		s.Observe(r)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := lived(b, "Z300V1RR")
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(s.Snapshot())))
	}
}

func BenchmarkRisk(b *testing.B) {
	m := defaultModel(b)
	s, at := lived(b, "Z300V1RR")
	b.ReportAllocs()
	for b.Loop() {
		m.Risk(s, at)
	}
}
