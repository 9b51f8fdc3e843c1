package pfa

import (
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// TestPresentWeights: a family that is gone hardly counts, one that has just
// come counts more, and one that stays as the fleet does.
func TestPresentWeights(t *testing.T) {
	first := time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
	drives := []Drive{{Model: "GONE", First: first}, {Model: "STAYS", First: first}, {Model: "NEW", First: first}}
	data := &dataset{rows: newRows(0)}
	for day := range Axis(400) {
		for id := range drives {
			if id == 0 && day >= 300 || id == 2 && day < 300 {
				continue
			}
			data.marks = append(data.marks, landmark{drive: id, hour: 24 * day})
			data.rows.add(&vector{}, 2, false, id)
		}
	}
	w := data.presentWeights(drives)
	for i, l := range data.marks {
		want := []float64{leastPresent, 1, 2}[l.drive]
		if l.drive == 2 { // 1 of 8 landmarks in all, 1 of 2 at last: as much as may be
			want = mostPresent
		}
		if math.Abs(float64(w[i])-2*want) > 1e-6 {
			t.Fatalf("a landmark of %s weighs %g, want %g", drives[l.drive].Model, w[i], 2*want)
		}
	}
}

// TestHostFitsItsMemory: what is remembered of a host of 12 disks, whatever they
// report.
func TestHostFitsItsMemory(t *testing.T) {
	const hosts, disks, most = 100, 12, 40 << 10
	states := make([]*State, 0, hosts*disks)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range hosts * disks {
		s := NewState("disk:X")
		for c, index := range ataCounters {
			s.observe(int64(c), index, 3, 0)
		}
		for _, name := range []string{signal.SmartPowerOnHours, signal.SmartTemperature, signal.SmartCRCErrors, signal.DriveSize, signal.SmartPassed} {
			s.observe(20, trackedIndex[name], 1, 0)
		}
		states = append(states, s)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / hosts; each > most {
		t.Errorf("%d bytes for a host of %d disks, want at most %d", each, disks, most)
	}
	runtime.KeepAlive(states)
}
