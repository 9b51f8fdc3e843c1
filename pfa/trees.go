package pfa

import (
	"math"
	"slices"
)

// boosting says how a forest is grown.
type boosting struct {
	trees    int
	depth    int
	rate     float64 // of learning
	lambda   float64 // ridge on leaf values, in weighted rows
	minCover float64 // least curvature (weighted p(1-p)) of a leaf
	minGain  float64
	monotone []int8  // by feature: +1 if the risk may only rise with it
	keepRows float64 // share of rows each tree sees
	keepCols float64 // share of features each tree sees
	seed     uint64
}

// cell is one bin of a histogram: sums of gradients and curvatures.
type cell struct{ g, h float64 }

// histogram has a cell for every bin of every feature (see distinct.at).
type histogram []cell

// grower holds what growing one tree needs.
type grower struct {
	data    *distinct
	how     *boosting
	g, h    []float64 // per row, as much as the tree sees of it
	cover   []float64 // … and its weight
	columns []int     // features this tree may use
	tree    tree
	open    []leafToSplit
	free    []histogram // to be used again
}

type leafToSplit struct {
	at     int32
	rows   []int32
	hist   histogram
	sum    cell
	lo, hi float64 // the value must lie between (monotone constraints above)
	depth  int
}

type split struct {
	gain        float64
	feature     int
	bin         uint8 // bins up to it go left
	missingLeft bool
	left, right cell
}

// manyAlike is from how many rows on that are alike they are not drawn as one:
// each tree sees its share of them.
const manyAlike = 4

// boost grows a forest on the labels and weights of the rows in use, and
// returns its logits for all rows, too.
func boost(table *binned, label []bool, weight []float32, use []int32, how boosting) (*forest, []float64) {
	data := table.distinct(label, weight, use)
	pos, all := 0.0, 0.0
	for u, w := range data.weight {
		all += w
		pos += data.positive[u]
	}
	f := &forest{base: logit(pos / all)}
	z := slices.Repeat([]float64{f.base}, data.n)
	gr := &grower{data: data, how: &how, g: make([]float64, data.n), h: make([]float64, data.n), cover: make([]float64, data.n)}
	for k := range how.trees {
		inParts(data.n, chunks, func(_, from, to int) {
			for u := from; u < to; u++ {
				part := 1.0
				switch {
				case how.keepRows >= 1:
				case data.count[u] >= manyAlike:
					part = how.keepRows
				default:
					part = indicator(uniform(how.seed, uint64(k), uint64(u)) < how.keepRows)
				}
				p, w := sigmoid(z[u]), data.weight[u]
				gr.g[u] = part * (w*p - data.positive[u])
				gr.h[u] = part * w * p * (1 - p)
				gr.cover[u] = part * w
			}
		})
		t := gr.grow(uint64(k))
		f.trees = append(f.trees, t)
		inParts(data.n, chunks, func(_, from, to int) {
			for u := from; u < to; u++ {
				z[u] += t.binnedLeaf(data.binned, u)
			}
		})
	}
	logits := make([]float64, table.n)
	inParts(table.n, chunks, func(_, from, to int) {
		for i := from; i < to; i++ {
			if u := data.of[i]; u >= 0 {
				logits[i] = z[u]
			} else {
				logits[i] = table.score(f, i)
			}
		}
	})
	return f, logits
}

func (gr *grower) grow(k uint64) tree {
	how := gr.how
	var rows []int32
	root := leafToSplit{lo: math.Inf(-1), hi: math.Inf(1)}
	var cover float64
	for u, c := range gr.cover {
		if c > 0 {
			rows = append(rows, int32(u))
			root.sum.g += gr.g[u]
			root.sum.h += gr.h[u]
			cover += c
		}
	}
	root.rows = rows
	gr.columns = gr.columns[:0]
	for f := range gr.data.cols {
		if how.keepCols >= 1 || uniform(how.seed+1, k, uint64(f)) < how.keepCols {
			gr.columns = append(gr.columns, f)
		}
	}
	root.hist = gr.histogram(rows, root.sum)
	gr.tree = tree{{feature: -1, value: gr.value(root.sum, root.lo, root.hi), cover: cover}}
	gr.open = append(gr.open[:0], root)
	for len(gr.open) > 0 {
		l := gr.open[0]
		gr.open = gr.open[1:]
		if l.depth < how.depth && len(gr.columns) > 0 {
			gr.split(l)
		}
	}
	for i := range gr.tree {
		gr.tree[i].value *= how.rate
	}
	return gr.tree
}

func (gr *grower) value(c cell, lo, hi float64) float64 {
	return min(max(-c.g/(c.h+gr.how.lambda), lo), hi)
}

// gain of a leaf with that sum and value: how much it lowers the loss.
func (gr *grower) gain(c cell, value float64) float64 {
	return -(c.g*value + (c.h+gr.how.lambda)*value*value/2)
}

// rowsAtOnce is how many rows one processor adds up; so many parts at most.
const (
	rowsAtOnce = 16384
	maxParts   = 8
)

// histogram adds up rows, whose sum is known: the usual bins get what the
// others leave.
func (gr *grower) histogram(rows []int32, sum cell) histogram {
	d := gr.data
	parts := make([]histogram, min(maxParts, len(rows)/rowsAtOnce+1))
	for p := range parts {
		parts[p] = gr.empty()
	}
	inParts(len(rows), len(parts), func(p, from, to int) {
		out := parts[p]
		for _, u := range rows[from:to] {
			g, h := gr.g[u], gr.h[u]
			for _, e := range d.entry[d.start[u]:d.start[u+1]] {
				c := &out[e]
				c.g += g
				c.h += h
			}
		}
	})
	out := parts[0]
	for _, p := range parts[1:] {
		for e := range out {
			out[e].g += p[e].g
			out[e].h += p[e].h
		}
		gr.free = append(gr.free, p)
	}
	for f, usual := range d.usual {
		left := sum
		for _, c := range out[d.at[f]:d.at[f+1]] {
			left.g -= c.g
			left.h -= c.h
		}
		out[usual] = left
	}
	return out
}

func (gr *grower) empty() histogram {
	if n := len(gr.free); n > 0 {
		h := gr.free[n-1]
		gr.free = gr.free[:n-1]
		clear(h)
		return h
	}
	return make(histogram, gr.data.at[len(gr.data.cols)])
}

func (gr *grower) split(l leafToSplit) {
	best := gr.best(l)
	if best.gain <= gr.how.minGain {
		gr.free = append(gr.free, l.hist)
		return
	}
	if missing := l.hist[gr.data.at[best.feature]]; missing.h <= nothing*l.sum.h { // never missing here: the way of most
		best.missingLeft = best.left.h >= best.right.h
	}
	n := &gr.tree[l.at]
	cut := gr.data.cuts[best.feature][best.bin-1]
	col := gr.data.cols[best.feature]
	var left, right []int32
	var coverL, coverR float64
	for _, u := range l.rows {
		if b := col[u]; b == 0 && best.missingLeft || b > 0 && b <= best.bin {
			left = append(left, u)
			coverL += gr.cover[u]
		} else {
			right = append(right, u)
			coverR += gr.cover[u]
		}
	}
	loL, hiL, loR, hiR := l.lo, l.hi, l.lo, l.hi
	vl, vr := gr.value(best.left, l.lo, l.hi), gr.value(best.right, l.lo, l.hi)
	if gr.how.monotone[best.feature] > 0 {
		middle := (vl + vr) / 2
		hiL, loR = middle, middle
	}
	n.feature, n.cut, n.missingLeft = int32(best.feature), cut, best.missingLeft
	n.left, n.right = int32(len(gr.tree)), int32(len(gr.tree)+1)
	at := n.left
	gr.tree = append(gr.tree, node{feature: -1, value: vl, cover: coverL}, node{feature: -1, value: vr, cover: coverR})
	if l.depth+1 >= gr.how.depth {
		gr.free = append(gr.free, l.hist)
		return
	}
	small, sum := left, best.left
	if len(right) < len(left) {
		small, sum = right, best.right
	}
	hs, hl := gr.histogram(small, sum), l.hist
	for e := range hl {
		hl[e].g -= hs[e].g
		hl[e].h -= hs[e].h
	}
	histL, histR := hs, hl
	if len(right) < len(left) {
		histL, histR = hl, hs
	}
	gr.open = append(gr.open,
		leafToSplit{at: at, rows: left, hist: histL, sum: best.left, lo: loL, hi: hiL, depth: l.depth + 1},
		leafToSplit{at: at + 1, rows: right, hist: histR, sum: best.right, lo: loR, hi: hiR, depth: l.depth + 1})
}

// nothing is what rounding leaves of a bin that holds no row, as a share of all.
const nothing = 1e-9

func (gr *grower) best(l leafToSplit) split {
	best := split{feature: math.MaxInt}
	whole := gr.gain(l.sum, gr.value(l.sum, l.lo, l.hi))
	for _, f := range gr.columns {
		cells := l.hist[gr.data.at[f]:gr.data.at[f+1]]
		missing := cells[0]
		some := missing.h > nothing*l.sum.h
		var left cell
		for b := 1; b < len(cells)-1; b++ {
			if cells[b] == (cell{}) && b > 1 {
				continue // the same split as one bin lower
			}
			left.g += cells[b].g
			left.h += cells[b].h
			for _, missingLeft := range [...]bool{false, true} {
				a := left
				if missingLeft {
					if !some {
						continue
					}
					a.g += missing.g
					a.h += missing.h
				}
				c := cell{l.sum.g - a.g, l.sum.h - a.h}
				if a.h < gr.how.minCover || c.h < gr.how.minCover {
					continue
				}
				va, vc := gr.value(a, l.lo, l.hi), gr.value(c, l.lo, l.hi)
				if gr.how.monotone[f] > 0 && va > vc {
					continue
				}
				if gain := gr.gain(a, va) + gr.gain(c, vc) - whole; gain > best.gain {
					best = split{gain, f, uint8(b), missingLeft, a, c}
				}
			}
		}
	}
	return best
}

// uniform is a number from 0 to 1 that depends on its arguments alone.
func uniform(seed, a, b uint64) float64 {
	x := seed*0x9e3779b97f4a7c15 ^ a*0xbf58476d1ce4e5b9 ^ b*0x94d049bb133111eb
	for range 2 {
		x ^= x >> 32
		x *= 0xd6e8feb86659fd93
	}
	x ^= x >> 32
	return float64(x>>11) / (1 << 53)
}

// Boost grows so many trees of that depth on a table of the caller's, given by
// column with NaN for what is missing, and returns the logits of its rows: the
// trainer by itself, for measuring it.
func Boost(cols [][]float32, label []bool, trees, depth int) []float64 {
	weight := slices.Repeat([]float32{1}, len(label))
	use := make([]int32, len(label))
	for i := range use {
		use[i] = int32(i)
	}
	_, z := boost(bin(cols), label, weight, use, boosting{trees: trees, depth: min(depth, maxDepth), rate: 0.1, lambda: 1, minCover: 1,
		monotone: make([]int8, len(cols)), keepRows: 1, keepCols: 1})
	return z
}
