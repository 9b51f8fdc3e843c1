package main

import (
	"hash/fnv"
	"math"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

const (
	every   = 14 // days between landmarks
	horizon = 30 * 24
)

// mark is one landmark with what came of it.
type mark struct {
	drive *pfa.Drive
	hour  int64
	lead  int64 // hours to the failure; -1: none known
	extra bool  // not of the grid: 1 or 7 days before a failure
}

func (m mark) fails() bool { return m.lead >= 0 && m.lead <= horizon }

// third places a drive in one of three parts.
func third(d *pfa.Drive) int {
	h := fnv.New32a()
	h.Write([]byte("bench " + d.Serial))
	return int(h.Sum32() % 3)
}

func hourOf(d *pfa.Drive, day time.Time) int64 {
	return d.HoursFirst + int64(day.Sub(d.First)/time.Hour)
}

// marks lists a drive's landmarks on the days from, from + 14, … before until.
func marks(d *pfa.Drive, from, until time.Time) (out []mark) {
	for day := from; day.Before(until); day = day.AddDate(0, 0, every) {
		h := hourOf(d, day)
		switch {
		case day.Before(d.First) || h >= d.HoursLast:
		case d.Failed:
			out = append(out, mark{drive: d, hour: h, lead: d.HoursLast - h})
		case h+horizon <= d.HoursLast:
			out = append(out, mark{drive: d, hour: h, lead: -1})
		}
	}
	return out
}

// ahead adds, for a drive that is judged and fails, what was known 1 and 7 days before.
func ahead(d *pfa.Drive, from, until time.Time) (out []mark) {
	if !d.Failed || !d.Last.Before(until.AddDate(0, 0, 30)) {
		return nil
	}
	for _, lead := range []int64{7 * 24, 24} {
		if h := d.HoursLast - lead; h >= max(d.HoursFirst, hourOf(d, from)) {
			out = append(out, mark{drive: d, hour: h, lead: lead, extra: true})
		}
	}
	return out
}

// The peers' features: logarithms of the nine counters and of their changes over
// 3, 7, 14, 30 and 90 days, and the age.
var changes = [...]int64{3, 7, 14, 30, 90}

const (
	counters = 9
	width    = counters*(1+len(changes)) + 1
)

// features appends a row to x. Values that say a drive cannot count are
// missing.
func features(x []float32, d *pfa.Drive, hour int64) []float32 {
	var at [counters][1 + len(changes)]float64
	for c := range at {
		for k := range at[c] {
			at[c][k] = math.NaN()
		}
	}
	for i := range d.Segments {
		s := &d.Segments[i]
		if s.Start > hour {
			break
		}
		for c := range at {
			v := float64(s.Values[c])
			if s.Has&(1<<c) == 0 || v == 0xffff || v >= 0xffffffff {
				continue
			}
			at[c][0] = v
			for k, days := range changes {
				// The first value known stands for those before it.
				if s.Start <= hour-24*days || math.IsNaN(at[c][1+k]) {
					at[c][1+k] = v
				}
			}
		}
	}
	for c := range at {
		x = append(x, float32(math.Log1p(at[c][0])))
		for k := range changes {
			rise := at[c][0] - at[c][1+k]
			x = append(x, float32(math.Copysign(math.Log1p(math.Abs(rise)), rise)))
		}
	}
	return append(x, float32(hour)/8766)
}

// hide is d without three in ten of its attributes.
func hide(d pfa.Drive) pfa.Drive {
	keep := uint16(0)
	for c := range counters {
		h := fnv.New32a()
		h.Write([]byte{byte(c)})
		h.Write([]byte(d.Serial))
		if h.Sum32()%1000 >= 300 {
			keep |= 1 << c
		}
	}
	segments := make([]pfa.Segment, len(d.Segments))
	for i, s := range d.Segments {
		s.Has &= keep
		segments[i] = s
	}
	d.Segments = segments
	return d
}

// Places of the counters in a segment.
const (
	reallocated = iota
	spinRetries
	powerCycles
	uncorrectable
	timeouts
	highFly
	events
	pending
	offline
)

// latest is the newest value of each counter at an hour.
func latest(d *pfa.Drive, hour int64) (v [counters]uint32) {
	for i := range d.Segments {
		s := &d.Segments[i]
		if s.Start > hour {
			break
		}
		for c := range v {
			if s.Has&(1<<c) != 0 {
				v[c] = s.Values[c]
			}
		}
	}
	return v
}

// smartd warns of pending and of offline uncorrectable sectors.
func smartd(d *pfa.Drive, hour int64) bool {
	v := latest(d, hour)
	return v[pending] > 0 || v[offline] > 0
}

// scrutiny calls a drive failed when a counter lies where drives were observed
// to fail at 10 % a year or more (20 % if the counter is not critical). These
// are those ranges of its table: above low, up to high.
func scrutiny(d *pfa.Drive, hour int64) bool {
	v := latest(d, hour)
	for _, r := range [...]struct {
		counter   int
		low, high uint32
	}{
		{reallocated, 16, 70000}, {spinRetries, 0, 80}, {uncorrectable, 0, 120}, {timeouts, 100, math.MaxUint32},
		{highFly, 30, 150}, {events, 11, 17}, {events, 27, 45}, {pending, 1, 1600}, {offline, 0, 16},
	} {
		if x := v[r.counter]; x > r.low && x <= r.high {
			return true
		}
	}
	return false
}
