package pfa

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Feature is one column of a model: its name, and the signal it is explained
// by. Features without a signal belong to the baseline (vendor, age).
type Feature struct {
	Name   string
	Signal string
}

// severalCounters is the explaining "signal" of features that look at more than
// one counter.
const severalCounters = "several counters"

// vector is a sparse row of features; indices are distinct, not ordered.
type vector struct {
	index []int32
	value []float64
}

func (v *vector) reset() { v.index, v.value = v.index[:0], v.value[:0] }

func (v *vector) put(i int, x float64) {
	if x != 0 {
		v.index = append(v.index, int32(i))
		v.value = append(v.value, x)
	}
}

// ataSchema lays out the features of ATA drives. All are made from one State at
// one time; none is a serial number, a date or a row's place.
type ataSchema struct {
	features []Feature
	group    []int8 // by column: what explains it: a place in ataCounters, or a group below
	at       struct{ counters, counts, products, vendors, age int }
}

// counters whose levels and rises the model reads, and how many columns each
// takes; the five classic ones first.
var ataCounters = []int{
	trackedIndex[signal.SmartReallocatedSectors],
	trackedIndex[signal.SmartReportedUncorrectable],
	trackedIndex[signal.SmartPendingSectors],
	trackedIndex[signal.SmartOfflineUncorrectable],
	trackedIndex[signal.SmartCommandTimeouts],
	trackedIndex[signal.SmartReallocationEvents],
	trackedIndex[signal.SmartHighFlyWrites],
	trackedIndex[signal.SmartSpinRetries],
	trackedIndex[signal.SmartPowerCycles],
}

// Places in ataCounters.
const (
	cReallocated = iota
	cUncorrectable
	cPending
	cOffline
	cTimeout
	cEvents
	cHighFly
	cSpin
	cCycles
	classic = cTimeout + 1 // how many are the classic ones
)

// Columns of each counter. Cycles use the rises only.
const (
	kNonZero = iota
	kLevel
	kLevelHigh
	kRise3
	kRise7
	kRise30
	kRise90
	kAny7
	kAny30
	kAny90
	kFresh
	counterColumns
)

var counterColumnNames = [counterColumns]string{"nonzero", "level", "level_high", "rise_3d", "rise_7d", "rise_30d", "rise_90d",
	"any_7d", "any_30d", "any_90d", "fresh_90d"}

var (
	countFeatures   = []string{"nonzero_2", "nonzero_3", "nonzero_4", "rising_7d_1", "rising_7d_2", "rising_7d_3", "rising_30d_2", "rising_30d_3"}
	productFeatures = []struct{ a, b int }{{cUncorrectable, cPending}, {cReallocated, cUncorrectable}, {cReallocated, cPending}}
	ageKnots        = []float64{0, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5} // years
	vendorsApart    = []string{vendorHGST, vendorWDC}
	slopeColumns    = []struct{ counter, column int }{
		{cReallocated, kNonZero}, {cReallocated, kLevel}, {cReallocated, kRise30}, {cReallocated, kAny30},
		{cUncorrectable, kNonZero}, {cUncorrectable, kLevel}, {cUncorrectable, kRise30}, {cUncorrectable, kAny30},
		{cPending, kNonZero}, {cPending, kLevel}, {cPending, kRise30}, {cPending, kAny30},
		{cTimeout, kLevel}, {cTimeout, kAny30}, {cHighFly, kLevel}, {cEvents, kLevel},
	}
)

// Groups of columns that no single counter explains.
const (
	groupBaseline int8 = -1 // vendor, age
	groupSeveral  int8 = -2 // several counters
)

func newATASchema() *ataSchema {
	s := &ataSchema{}
	add := func(sig, format string, args ...any) {
		s.features = append(s.features, Feature{Name: fmt.Sprintf(format, args...), Signal: sig})
	}
	s.at.counters = len(s.features)
	for _, c := range ataCounters {
		for _, col := range counterColumnNames {
			add(tracked[c], "%s_%s", tracked[c], col)
		}
	}
	s.at.counts = len(s.features)
	for _, n := range countFeatures {
		add(severalCounters, "%s", n)
	}
	s.at.products = len(s.features)
	for _, p := range productFeatures {
		add(severalCounters, "%s_x_%s_level", tracked[ataCounters[p.a]], tracked[ataCounters[p.b]])
		add(severalCounters, "%s_x_%s_rise_7d", tracked[ataCounters[p.a]], tracked[ataCounters[p.b]])
		add(severalCounters, "%s_x_%s_rise_30d", tracked[ataCounters[p.a]], tracked[ataCounters[p.b]])
	}
	s.at.vendors = len(s.features)
	for _, v := range vendorsApart {
		add("", "vendor_%s", v)
		for _, c := range slopeColumns {
			add(tracked[ataCounters[c.counter]], "vendor_%s_x_%s_%s", v, tracked[ataCounters[c.counter]], counterColumnNames[c.column])
		}
	}
	s.at.age = len(s.features)
	for _, k := range ageKnots {
		add("", "age_over_%gy", k)
	}
	for _, f := range s.features {
		s.group = append(s.group, groupOf(f))
	}
	return s
}

func groupOf(f Feature) int8 {
	switch f.Signal {
	case "":
		return groupBaseline
	case severalCounters:
		return groupSeveral
	}
	return int8(slices.Index(ataCounters, trackedIndex[f.Signal]))
}

// hash identifies the schema: a model file made for other features is refused.
func (s *ataSchema) hash() string {
	h := sha256.New()
	for _, columns := range [][]Feature{s.features, treeColumns} {
		fmt.Fprintf(h, "ata 1 %d\n", len(columns))
		for _, f := range columns {
			fmt.Fprintf(h, "%s\t%s\n", f.Name, f.Signal)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// levelHigh is where the second slope of a counter's logarithm begins.
var levelHigh = math.Log1p(64)

// extract fills v with the features of s at t. It allocates nothing once v has
// grown to its size.
func (a *ataSchema) extract(s *State, t Axis, v *vector) {
	v.reset()
	var cols [classic + 4][counterColumns]float64
	nonzero, rising7, rising30 := 0, 0, 0
	for c, index := range ataCounters {
		sr := s.find(index)
		if sr == nil {
			continue
		}
		x := &cols[c]
		r7, r30, r90 := sr.up.over(Days7, t), sr.up.over(Days30, t), sr.up.over(Days90, t)
		x[kRise3], x[kRise7], x[kRise30], x[kRise90] = math.Log1p(sr.up.over(Days3, t)), math.Log1p(r7), math.Log1p(r30), math.Log1p(r90)
		if c != cCycles {
			x[kLevel] = math.Log1p(sr.level)
			x[kLevelHigh] = max(0, x[kLevel]-levelHigh)
			x[kNonZero] = indicator(sr.level > 0)
			x[kAny7], x[kAny30], x[kAny90] = indicator(r7 > 0), indicator(r30 > 0), indicator(r90 > 0)
			x[kFresh] = indicator(r90 > 0 && r90 >= sr.level)
		}
		if c < classic {
			nonzero += int(x[kNonZero])
			rising7 += int(x[kAny7])
			rising30 += int(x[kAny30])
		}
		for k, value := range x {
			v.put(a.at.counters+c*counterColumns+k, value)
		}
	}
	for i, on := range [...]bool{nonzero >= 2, nonzero >= 3, nonzero >= 4, rising7 >= 1, rising7 >= 2, rising7 >= 3, rising30 >= 2, rising30 >= 3} {
		v.put(a.at.counts+i, indicator(on))
	}
	for i, p := range productFeatures {
		v.put(a.at.products+3*i, cols[p.a][kLevel]*cols[p.b][kLevel])
		v.put(a.at.products+3*i+1, cols[p.a][kRise7]*cols[p.b][kRise7])
		v.put(a.at.products+3*i+2, cols[p.a][kRise30]*cols[p.b][kRise30])
	}
	for i, name := range vendorsApart {
		if name == s.vendor {
			base := a.at.vendors + i*(1+len(slopeColumns))
			v.put(base, 1)
			a.slopes(base+1, &cols, v)
		}
	}
	if hours := s.find(hoursIndex); hours != nil {
		years := hours.level / 8766
		for i, k := range ageKnots {
			v.put(a.at.age+i, max(0, min(years, 8)-k))
		}
	}
}

func (a *ataSchema) slopes(base int, cols *[classic + 4][counterColumns]float64, v *vector) {
	for i, c := range slopeColumns {
		v.put(base+i, cols[c.counter][c.column])
	}
}

var hoursIndex = trackedIndex[signal.SmartPowerOnHours]

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
