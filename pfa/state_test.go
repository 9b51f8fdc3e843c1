package pfa

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

var epoch = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// value makes a reading so many hours after the epoch.
func value(component, name string, hours int, v float64) signal.Reading {
	return signal.Reading{Host: "h1", Component: component, Signal: name, Value: &v,
		ObservedAt: epoch.Add(time.Duration(hours) * time.Hour), BootID: "b1", Status: signal.OK}
}

func TestIncreasesAgreeWithAPlainList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var in increases
		type rise struct {
			at Axis
			by float64
		}
		var list []rise
		now := Axis(random.IntN(100000)) - 50000
		for range 200 {
			now += Axis(random.IntN(1 + random.IntN(300)))
			if random.IntN(3) == 0 {
				by := float64(1 + random.IntN(20))
				in.add(now, by)
				list = append(list, rise{now, by})
			}
			for w := range windows {
				least, most := 0.0, 0.0
				for _, r := range list {
					if age := now - r.at; age < Axis(w.Days())*24 {
						least += r.by
						most += r.by
					} else if age < Axis(w.Days())*24+rings[w].hours {
						most += r.by
					}
				}
				if got := in.over(w, now); got < least || got > most {
					t.Fatalf("%d days at %d: %g, want %g to %g", w.Days(), now, got, least, most)
				}
			}
		}
	}
}

func TestCounterRises(t *testing.T) {
	const hour, day = 1, 24
	type point struct {
		hours int
		v     float64
	}
	tests := []struct {
		name   string
		signal string
		points []point
		rise   float64 // within 7 days, at the last point
		level  float64
	}{
		{"first value is no rise", signal.SmartReallocatedSectors, []point{{0, 40}}, 0, 40},
		{"a rise", signal.SmartReallocatedSectors, []point{{0, 1}, {day, 24}}, 23, 24},
		{"the same again", signal.SmartReallocatedSectors, []point{{0, 1}, {day, 24}, {day + 1, 24}, {day + 1, 24}}, 23, 24},
		{"long ago", signal.SmartReallocatedSectors, []point{{0, 1}, {day, 24}, {12 * day, 24}}, 0, 24},
		{"a misread zero is no rise when it ends", signal.SmartReportedUncorrectable, []point{{0, 50}, {day, 0}, {2 * day, 50}}, 0, 50},
		{"65535 means nothing", signal.SmartCommandTimeouts, []point{{0, 1}, {day, 65535}, {2 * day, 2}}, 1, 2},
		{"2^32-1 means nothing", signal.SmartReallocatedSectors, []point{{0, 1}, {day, math.MaxUint32}, {2 * day, 2}}, 1, 2},
		{"packed command timeouts", signal.SmartCommandTimeouts, []point{{0, 65537}, {day, 3*(1<<32) + 2*(1<<16) + 4}}, 3, 4},
		{"pending sectors that come back are new", signal.SmartPendingSectors, []point{{0, 8}, {day, 0}, {2 * day, 8}}, 8, 8},
		{"not a number", signal.SmartPendingSectors, []point{{0, 8}, {day, math.NaN()}}, 0, 8},
		{"negative", signal.SmartPendingSectors, []point{{0, 8}, {day, -1}}, 0, 8},
		{"a late reading counts as now", signal.SmartReallocatedSectors, []point{{0, 1}, {30 * day, 1}, {day, 5}}, 4, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := NewState("disk:X")
			for _, p := range test.points {
				s.Observe(value("disk:X", test.signal, p.hours, p.v))
			}
			sr := s.of(test.signal)
			if got := sr.up.over(Days7, s.latest); got != test.rise || sr.level != test.level {
				t.Errorf("rise %g, level %g; want %g, %g", got, sr.level, test.rise, test.level)
			}
		})
	}
}

func TestKernelCountersBeginAgainWithEachBoot(t *testing.T) {
	s := NewState("dimm:0/0/0")
	for i, r := range []struct {
		boot string
		v    float64
	}{{"b1", 10}, {"b1", 12}, {"b2", 5}, {"b2", 6}} {
		x := value("dimm:0/0/0", signal.EDACCorrected, i, r.v)
		x.BootID = r.boot
		s.Observe(x)
	}
	if got := s.of(signal.EDACCorrected).up.over(Days3, s.latest); got != 2+5+1 {
		t.Errorf("rise %g, want 8: 10→12, then 5 since the reboot, then one more", got)
	}
	d := NewState("disk:X") // a drive's counters outlive the boot
	for i, boot := range []string{"b1", "b2"} {
		x := value("disk:X", signal.SmartReallocatedSectors, i, 10)
		x.BootID = boot
		d.Observe(x)
	}
	if got := d.of(signal.SmartReallocatedSectors).up.over(Days3, d.latest); got != 0 {
		t.Errorf("a reboot raised a drive's counter by %g", got)
	}
}

func TestObserveIgnoresWhatIsNotItsOwn(t *testing.T) {
	s := NewState("disk:X")
	absent := value("disk:X", signal.SmartReallocatedSectors, 0, 1)
	absent.Status, absent.Value = signal.Absent, nil
	failed := value("disk:X", signal.SmartReallocatedSectors, 0, 1)
	failed.Status = signal.Failed
	for _, r := range []signal.Reading{absent, failed, value("disk:Y", signal.SmartReallocatedSectors, 0, 1), value("disk:X", "no_such_signal", 0, 1)} {
		s.Observe(r)
	}
	if _, some := s.Latest(); some {
		t.Error("something was remembered")
	}
}

func TestSnapshotRestores(t *testing.T) {
	m := defaultModel(t)
	for _, serial := range []string{"Z300V1RR", "JK1101B8GKUZUZ"} {
		r := recorded(t, serial)
		last := r.Days[len(r.Days)-1].Date
		whole, broken := NewState(signal.DiskComponent(serial)), NewState(signal.DiskComponent(serial))
		for i, x := range r.Readings("h1", last) {
			whole.Observe(x)
			broken.Observe(x)
			if i%501 == 0 {
				b := broken.Snapshot()
				if len(b) > MaxStateBytes {
					t.Fatalf("%d bytes", len(b))
				}
				var err error
				if broken, err = Restore(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if string(whole.Snapshot()) != string(broken.Snapshot()) {
			t.Errorf("%s: a restart changed the state", serial)
		}
		if a, b := m.Score(whole, last), m.Score(broken, last); a.Logit != b.Logit || len(a.Reasons) != len(b.Reasons) {
			t.Errorf("%s: a restart changed the score: %g, %g", serial, a.Logit, b.Logit)
		}
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	s := NewState("disk:X")
	s.Observe(value("disk:X", signal.SmartReallocatedSectors, 0, 1))
	s.Observe(value("disk:X", signal.SmartReallocatedSectors, 5, 3))
	good := s.Snapshot()
	for n := range good {
		if _, err := Restore(good[:n]); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(good))
		}
	}
	if _, err := Restore(append(good[:len(good):len(good)], 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
	future := append([]byte(nil), good...)
	future[0] = 9
	if _, err := Restore(future); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("another version: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	s := NewState("disk:X")
	s.Observe(value("disk:X", signal.SmartReallocatedSectors, 0, 1))
	s.Observe(value("disk:X", signal.SmartReallocatedSectors, 50, 9))
	f.Add(s.Snapshot())
	f.Add(NewState("dimm:0/0/0").Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Restore(b)
		if err != nil {
			return
		}
		v := defaultModel(t).Score(s, epoch)
		if v.Modelled && !(v.Risk.Month.Percent >= 0 && v.Risk.Month.Percent <= 100) {
			t.Errorf("risk %g", v.Risk.Month.Percent)
		}
		s.Observe(value(s.component, signal.SmartReallocatedSectors, 9, 5))
		if _, err := Restore(s.Snapshot()); err != nil {
			t.Error(err)
		}
	})
}

func TestScoringDoesNotGrowWithTime(t *testing.T) {
	s := NewState("disk:X")
	for i := range 20000 {
		for _, name := range tracked {
			s.Observe(value("disk:X", name, i, float64(i%9000)))
		}
	}
	if n := len(s.Snapshot()); n > MaxStateBytes {
		t.Errorf("%d bytes after a long life with every signal", n)
	}
	schema := defaultModel(t).ata.schema
	var v vector
	schema.extract(s, s.latest, &v)
	if n := testing.AllocsPerRun(100, func() { schema.extract(s, s.latest, &v) }); n != 0 {
		t.Errorf("%g allocations per row of features", n)
	}
}
