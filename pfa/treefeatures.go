package pfa

import "math"

// treeColumns are the features of the trees, with NaN for what is not known, and
// treeMonotone says which of them may only raise the risk: more errors never
// make a drive safer.
var treeColumns, treeMonotone = func() (out []Feature, mono []int8) {
	add := func(sig, name string, m int8) {
		out = append(out, Feature{Name: name, Signal: sig})
		mono = append(mono, m)
	}
	for c, index := range ataCounters {
		m := int8(1)
		if c == cCycles || c == cHighFly {
			m = 0
		}
		for _, what := range []string{"level", "rise_3d", "rise_7d", "rise_30d", "rise_90d", "fresh"} {
			k := m
			if what == "fresh" || what == "level" && c == cCycles {
				k = 0
			}
			add(tracked[index], tracked[index]+"_"+what, k)
		}
		add(tracked[index], tracked[index]+"_since_rise", 0)
	}
	for _, n := range []string{"nonzero", "rising_7d", "rising_30d"} {
		add(severalCounters, n, 1)
	}
	add(severalCounters, "since_any_rise", 0)
	add("", "age", 0)
	add("", "vendor", 0)
	return out, mono
}()

// treeColumnsOfCounter is how many columns each counter has, its level first.
const treeColumnsOfCounter = 7

// treeGroup says, by tree column, what explains it (see ataSchema.group).
var treeGroup = func() (out []int8) {
	for _, f := range treeColumns {
		out = append(out, groupOf(f))
	}
	return out
}()

// treeRow fills x, of the length of treeColumns, with the features of s at t.
func treeRow(s *State, t Axis, x []float64) {
	i := 0
	put := func(v float64) { x[i] = v; i++ }
	nan := math.NaN()
	nonzero, rising7, rising30 := 0.0, 0.0, 0.0
	lastRise := nan
	for c, index := range ataCounters {
		sr := s.find(index)
		if sr == nil {
			for range treeColumnsOfCounter {
				put(nan)
			}
			continue
		}
		put(sr.level)
		var r [windows]float64
		for w := range windows {
			r[w] = sr.up.over(w, t)
			put(r[w])
		}
		if sr.level > 0 {
			put(min(1, r[Days90]/sr.level))
		} else {
			put(nan)
		}
		if sr.risen {
			since := float64(t-sr.rose) / 24
			put(since)
			if c < classic && !(lastRise <= since) {
				lastRise = since
			}
		} else {
			put(nan)
		}
		if c < classic {
			nonzero += indicator(sr.level > 0)
			rising7 += indicator(r[Days7] > 0)
			rising30 += indicator(r[Days30] > 0)
		}
	}
	put(nonzero)
	put(rising7)
	put(rising30)
	put(lastRise)
	if sr := s.find(hoursIndex); sr != nil {
		put(sr.level / 8766)
	} else {
		put(nan)
	}
	switch s.vendor {
	case vendorSeagate:
		put(0)
	case vendorHGST:
		put(1)
	case vendorWDC:
		put(2)
	default:
		put(nan)
	}
}
