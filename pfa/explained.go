package pfa

// explained remembers what each tree of a forest last said of why. A tree's
// Shapley values depend on the row only through what each of its splits decides,
// and most splits decide as they did a landmark ago: tables of many landmarks
// are explained several times faster, with the same bytes.
type explained struct {
	of   *forest
	last []decisions
	part []contributions
}

// decisions are the outcomes of a tree's splits, one bit each, with one more
// set, so that the zero value is no outcome.
type decisions [(maxNodes+1)/2/64 + 1]uint64

func (t tree) decide(x []float64) (d decisions) {
	bit := 1
	d[0] = 1
	for i := range t {
		n := &t[i]
		if n.feature < 0 {
			continue
		}
		if v := x[n.feature]; v < n.cut || v != v && n.missingLeft {
			d[bit/64] |= 1 << (bit % 64)
		}
		bit++
	}
	return d
}

// explain returns each tree's contributions to its output for x, without its
// expectation. phi is room, of the length of x.
func (e *explained) explain(f *forest, x, phi []float64) []contributions {
	if e.of != f {
		*e = explained{f, make([]decisions, len(f.trees)), make([]contributions, len(f.trees))}
	}
	for k, t := range f.trees {
		d := t.decide(x)
		if e.last[k] == d {
			continue
		}
		clear(phi)
		t.explain(x, phi)
		var c contributions
		for i, v := range phi {
			if v != 0 {
				c.add(treeGroup[i], v)
			}
		}
		e.last[k], e.part[k] = d, c
	}
	return e.part
}
