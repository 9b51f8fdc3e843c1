package pfa

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"
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

// maxBins is how many bins a feature's values are sorted into, besides the one
// of missing values.
const maxBins = 63

// binned is a table of features as bin numbers: 0 is missing, bin b holds the
// values from cuts[b-2] (included) to cuts[b-1].
type binned struct {
	n    int
	cols [][]uint8
	cuts [][]float64
}

// bin sorts columns of values into bins with about equally many distinct rows.
func bin(cols [][]float32) *binned {
	b := &binned{cols: make([][]uint8, len(cols)), cuts: make([][]float64, len(cols))}
	if len(cols) > 0 {
		b.n = len(cols[0])
	}
	eachFeature(len(cols), func(f int) {
		b.cuts[f] = cutsOf(cols[f])
		b.cols[f] = make([]uint8, b.n)
		for i, x := range cols[f] {
			b.cols[f][i] = binOf(b.cuts[f], float64(x))
		}
	})
	return b
}

func binOf(cuts []float64, x float64) uint8 {
	if x != x {
		return 0
	}
	i, exact := slices.BinarySearch(cuts, x)
	if exact {
		i++
	}
	return uint8(i + 1)
}

// cutsOf picks cut points between distinct values so that every bin between
// them has its share of the rows that are not at the most frequent value.
func cutsOf(col []float32) []float64 {
	count := map[float32]int{}
	for _, x := range col {
		if x == x {
			count[x]++
		}
	}
	values := make([]float32, 0, len(count))
	for x := range count {
		values = append(values, x)
	}
	slices.Sort(values)
	if len(values) < 2 {
		return nil
	}
	total, most := 0, 0
	for _, c := range count {
		total += c
		most = max(most, c)
	}
	share := float64(total-most)/maxBins + 1
	var cuts []float64
	filled := 0.0
	for i, x := range values[:len(values)-1] {
		filled += float64(count[x])
		if len(values) <= maxBins || filled >= share {
			cuts = append(cuts, float64(x)/2+float64(values[i+1])/2)
			filled = 0
			if len(cuts) == maxBins-1 {
				break
			}
		}
	}
	return cuts
}

// eachFeature runs f for every feature on all processors. Each feature is
// worked on by one goroutine in a fixed order, so that sums are the same on any
// number of processors.
func eachFeature(n int, f func(feature int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				f(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// fewRows is up to how many rows goroutines cost more than they bring.
const fewRows = 4096

func oneByOne(n int, f func(feature int)) {
	for i := range n {
		f(i)
	}
}

// cell is one bin of a histogram: sums of gradients and curvatures.
type cell struct{ g, h float64 }

type histogram [][]cell // by feature and bin

// grower holds what growing one tree needs.
type grower struct {
	data    *binned
	how     *boosting
	g, h    []float64 // per row
	weight  []float32
	use     []int32 // the rows that may be learned from
	columns []int   // features this tree may use
	tree    tree
	open    []leafToSplit
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

// boost grows a forest on the labels and weights of the rows in use, and
// returns its logits for all rows, too.
func boost(data *binned, label []bool, weight []float32, use []int32, how boosting) (*forest, []float64) {
	pos, all := 0.0, 0.0
	for _, i := range use {
		all += float64(weight[i])
		pos += float64(weight[i]) * indicator(label[i])
	}
	f := &forest{base: logit(pos / all)}
	z := make([]float64, data.n)
	for i := range z {
		z[i] = f.base
	}
	g, h := make([]float64, data.n), make([]float64, data.n)
	for k := range how.trees {
		inChunks(len(use), func(_, from, to int) {
			for _, i := range use[from:to] {
				p, w := sigmoid(z[i]), float64(weight[i])
				g[i] = w * (p - indicator(label[i]))
				h[i] = w * p * (1 - p)
			}
		})
		gr := &grower{data: data, how: &how, g: g, h: h, weight: weight, use: use}
		t := gr.grow(uint64(k))
		f.trees = append(f.trees, t)
		inChunks(data.n, func(_, from, to int) {
			for i := from; i < to; i++ {
				z[i] += data.leaf(t, i)
			}
		})
	}
	return f, z
}

// with is b with one column set to a value in every row.
func (b *binned) with(column int, value float64) *binned {
	out := *b
	out.cols = slices.Clone(b.cols)
	out.cols[column] = slices.Repeat([]uint8{binOf(b.cuts[column], value)}, b.n)
	return &out
}

// score is what a forest grown on these bins says of row i.
func (b *binned) score(f *forest, i int) float64 {
	z := f.base
	for _, t := range f.trees {
		z += b.leaf(t, i)
	}
	return z
}

// leaf is the value that a tree grown on these bins gives to row i.
func (b *binned) leaf(t tree, i int) float64 {
	n := &t[0]
	for n.feature >= 0 {
		v := b.cols[n.feature][i]
		// Bin v begins at cut v-2: it lies left of the cut unless it begins there.
		if v == 0 && n.missingLeft || v == 1 || v > 1 && b.cuts[n.feature][v-2] < n.cut {
			n = &t[n.left]
		} else {
			n = &t[n.right]
		}
	}
	return n.value
}

func (gr *grower) grow(k uint64) tree {
	how := gr.how
	var rows []int32
	for _, i := range gr.use {
		if how.keepRows >= 1 || uniform(how.seed, k, uint64(i)) < how.keepRows {
			rows = append(rows, i)
		}
	}
	for f := range gr.data.cols {
		if how.keepCols >= 1 || uniform(how.seed+1, k, uint64(f)) < how.keepCols {
			gr.columns = append(gr.columns, f)
		}
	}
	root := leafToSplit{rows: rows, lo: math.Inf(-1), hi: math.Inf(1)}
	var cover float64
	for _, i := range rows {
		root.sum.g += gr.g[i]
		root.sum.h += gr.h[i]
		cover += float64(gr.weight[i])
	}
	root.hist = gr.histogram(rows)
	gr.tree = tree{{feature: -1, value: gr.value(root.sum, root.lo, root.hi), cover: cover}}
	gr.open = []leafToSplit{root}
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

func (gr *grower) histogram(rows []int32) histogram {
	out := make(histogram, len(gr.data.cols))
	each := eachFeature
	if len(rows) < fewRows {
		each = oneByOne
	}
	each(len(gr.columns), func(k int) {
		f := gr.columns[k]
		cells := make([]cell, len(gr.data.cuts[f])+2)
		col := gr.data.cols[f]
		for _, i := range rows {
			c := &cells[col[i]]
			c.g += gr.g[i]
			c.h += gr.h[i]
		}
		out[f] = cells
	})
	return out
}

func (gr *grower) split(l leafToSplit) {
	best := gr.best(l)
	if best.gain <= gr.how.minGain {
		return
	}
	if l.hist[best.feature][0] == (cell{}) { // never missing here: the way of most
		best.missingLeft = best.left.h >= best.right.h
	}
	n := &gr.tree[l.at]
	cut := gr.data.cuts[best.feature][best.bin-1]
	col := gr.data.cols[best.feature]
	var left, right []int32
	var coverL, coverR float64
	for _, i := range l.rows {
		if b := col[i]; b == 0 && best.missingLeft || b > 0 && b <= best.bin {
			left = append(left, i)
			coverL += float64(gr.weight[i])
		} else {
			right = append(right, i)
			coverR += float64(gr.weight[i])
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
	small := left
	if len(right) < len(left) {
		small = right
	}
	var hs, hl histogram
	if l.depth+1 < gr.how.depth {
		hs = gr.histogram(small)
		hl = l.hist
		for _, f := range gr.columns {
			for b := range hl[f] {
				hl[f][b].g -= hs[f][b].g
				hl[f][b].h -= hs[f][b].h
			}
		}
	}
	histL, histR := hs, hl
	if len(right) < len(left) {
		histL, histR = hl, hs
	}
	at := n.left
	gr.tree = append(gr.tree, node{feature: -1, value: vl, cover: coverL}, node{feature: -1, value: vr, cover: coverR})
	gr.open = append(gr.open,
		leafToSplit{at: at, rows: left, hist: histL, sum: best.left, lo: loL, hi: hiL, depth: l.depth + 1},
		leafToSplit{at: at + 1, rows: right, hist: histR, sum: best.right, lo: loR, hi: hiR, depth: l.depth + 1})
}

func (gr *grower) best(l leafToSplit) split {
	bests := make([]split, len(gr.columns))
	whole := gr.gain(l.sum, gr.value(l.sum, l.lo, l.hi))
	oneByOne(len(gr.columns), func(k int) {
		f := gr.columns[k]
		cells := l.hist[f]
		missing := cells[0]
		best := split{feature: f}
		var left cell
		for b := 1; b < len(cells)-1; b++ {
			left.g += cells[b].g
			left.h += cells[b].h
			for _, missingLeft := range [...]bool{false, true} {
				a := left
				if missingLeft {
					if missing.h == 0 {
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
					best.gain, best.bin, best.missingLeft, best.left, best.right = gain, uint8(b), missingLeft, a, c
				}
			}
		}
		bests[k] = best
	})
	return slices.MaxFunc(bests, func(a, b split) int {
		return cmp.Or(cmp.Compare(a.gain, b.gain), cmp.Compare(b.feature, a.feature))
	})
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
