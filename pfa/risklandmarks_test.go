package pfa

import (
	"slices"
	"testing"
	"time"
)

// TestDriveUntil: what a drive was known to be on a day has no later segment, no
// later failure, and no trace of how long it went on.
func TestDriveUntil(t *testing.T) {
	d := *historyOf(t, "Z300V1RR")
	day := d.Last.AddDate(0, 0, -20)
	cut, ok := d.Until(day)
	if !ok || cut.Failed || !cut.Last.Before(day) || cut.HoursLast >= d.HoursLast {
		t.Fatalf("until %v: %v, failed %v, last seen %v at hour %d of %d", day, ok, cut.Failed, cut.Last, cut.HoursLast, d.HoursLast)
	}
	for _, s := range cut.Segments {
		if s.Start > cut.HoursLast {
			t.Errorf("a segment of hour %d, last seen at %d", s.Start, cut.HoursLast)
		}
	}
	if len(cut.Segments) == 0 || len(cut.Segments) >= len(d.Segments) {
		t.Errorf("%d segments of %d", len(cut.Segments), len(d.Segments))
	}
	if whole, ok := d.Until(d.Last.AddDate(0, 0, 1)); !ok || !whole.Failed || len(whole.Segments) != len(d.Segments) {
		t.Error("a life that has ended is cut")
	}
	if _, ok := d.Until(d.First); ok {
		t.Error("known before it was first seen")
	}
}

// TestRiskLandmarks: in whatever order landmarks come, each gets what scoring
// its drive at that hour gives, and nothing of the future.
func TestRiskLandmarks(t *testing.T) {
	m := defaultModel(t)
	drives := []Drive{*historyOf(t, "Z300V1RR"), *historyOf(t, "Z300V63Y")}
	var marks []Landmark
	for _, back := range []Axis{0, 400, 18 * 24, 2000} {
		for i := range drives {
			marks = append(marks, Landmark{Serial: drives[i].Serial, Hour: drives[i].HoursLast - back})
		}
	}
	got, err := m.RiskLandmarks(drives, marks)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range marks {
		d := &drives[slices.IndexFunc(drives, func(d Drive) bool { return d.Serial == l.Serial })]
		in := newInputs()
		m.ata.extract(newReplay(d).to(l.Hour), l.Hour, in)
		if want := m.ata.score(in).risk(); got[i] != want {
			t.Errorf("landmark %d: %+v, want %+v", i, got[i], want)
		}
	}
	cut, _ := drives[0].Until(drives[0].day(marks[2].Hour).Truncate(24*time.Hour).AddDate(0, 0, 2))
	alone, err := m.RiskLandmarks([]Drive{cut}, marks[2:3])
	if err != nil || alone[0] != got[2] {
		t.Errorf("with the future cut away %+v, %v; with it %+v", alone, err, got[2])
	}
	if _, err := m.RiskLandmarks(drives[:1], marks); err == nil {
		t.Error("a drive that is not in the table was scored")
	}
}
