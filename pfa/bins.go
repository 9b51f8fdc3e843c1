package pfa

import (
	"runtime"
	"slices"
	"sync"
)

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
		out := make([]uint8, b.n)
		last, lastBin := float32(0), binOf(b.cuts[f], 0) // most values repeat
		for i, x := range cols[f] {
			if x != last {
				last, lastBin = x, binOf(b.cuts[f], float64(x))
			}
			out[i] = lastBin
		}
		b.cols[f] = out
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
	values := make([]float32, 0, len(col)/8)
	zeros := 0 // counted apart: most values are
	for _, x := range col {
		switch {
		case x == 0:
			zeros++
		case x == x:
			values = append(values, x)
		}
	}
	slices.Sort(values)
	count := make([]int, 0, 256)
	distinct := values[:0]
	add := func(x float32, n int) { distinct, count = append(distinct, x), append(count, n) }
	for i := 0; i < len(values); {
		x, from := values[i], i
		for i < len(values) && values[i] == x {
			i++
		}
		add(x, i-from)
	}
	if zeros > 0 {
		at, _ := slices.BinarySearch(distinct, 0)
		distinct, count = slices.Insert(slices.Clone(distinct), at, 0), slices.Insert(count, at, zeros)
	}
	if len(distinct) < 2 {
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
	for i, x := range distinct[:len(distinct)-1] {
		filled += float64(count[i])
		if len(distinct) <= maxBins || filled >= share {
			cuts = append(cuts, float64(x)/2+float64(distinct[i+1])/2)
			filled = 0
			if len(cuts) == maxBins-1 {
				break
			}
		}
	}
	return cuts
}

// eachFeature runs f for every feature on all processors.
func eachFeature(n int, f func(feature int)) {
	inParts(n, n, func(i, _, _ int) { f(i) })
}

// inParts runs f for each of so many parts of n things, on all processors. What
// the parts are does not depend on how many processors there are.
func inParts(n, parts int, f func(part, from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), parts)
	if workers <= 1 {
		for p := range parts {
			f(p, n*p/parts, n*(p+1)/parts)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for p := range next {
				f(p, n*p/parts, n*(p+1)/parts)
			}
		}()
	}
	for p := range parts {
		next <- p
	}
	close(next)
	wg.Wait()
}

// score is what a forest grown on these bins says of row i.
func (b *binned) score(f *forest, i int) float64 {
	z := f.base
	for _, t := range f.trees {
		z += t.binnedLeaf(b, i)
	}
	return z
}

// binnedLeaf is the value that a tree grown on these bins gives to row i.
func (t tree) binnedLeaf(b *binned, i int) float64 {
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

// distinct is a table of the rows that differ in some bin, with the weights of
// all that are alike: most landmarks of healthy drives are. Growing trees on it
// gives the sums that growing them on the rows gives. Of each row only the bins
// that are not their feature's most frequent one are listed.
type distinct struct {
	*binned
	weight   []float64 // of the rows that are alike
	positive []float64 // … of those with the label
	count    []int32   // … how many they are
	at       []int     // by feature: where its bins begin in a histogram
	usual    []int     // by feature: its most frequent bin, as a place in a histogram
	start    []int32   // row i's unusual bins are entry[start[i]:start[i+1]]
	entry    []uint16  // places in a histogram
	of       []int32   // by row of the table: which of these it is; -1 if it is not in use
}

func (b *binned) distinct(label []bool, weight []float32, use []int32) *distinct {
	features := len(b.cols)
	rows := make([]uint8, len(use)*features)
	inParts(len(use), chunks, func(_, from, to int) {
		for f, col := range b.cols {
			for k := from; k < to; k++ {
				rows[k*features+f] = col[use[k]]
			}
		}
	})
	d := &distinct{binned: &binned{cols: make([][]uint8, features), cuts: b.cuts}}
	d.of = slices.Repeat([]int32{-1}, b.n)
	seen := make(map[string]int32, len(use)/4)
	var first []int
	for k, i := range use {
		row := rows[k*features : (k+1)*features]
		u, ok := seen[string(row)]
		if !ok {
			u = int32(len(first))
			seen[string(row)] = u
			first = append(first, k)
			d.weight, d.positive, d.count = append(d.weight, 0), append(d.positive, 0), append(d.count, 0)
		}
		d.of[i] = u
		w := float64(weight[i])
		d.weight[u] += w
		d.positive[u] += w * indicator(label[i])
		d.count[u]++
	}
	d.n = len(first)
	places := 0
	for f := range d.cols {
		col := make([]uint8, d.n)
		var often [maxBins + 1]int
		for u, k := range first {
			col[u] = rows[k*features+f]
			often[col[u]]++
		}
		d.cols[f] = col
		usual := 0
		for v, n := range often {
			if n > often[usual] {
				usual = v
			}
		}
		d.at, d.usual = append(d.at, places), append(d.usual, places+usual)
		places += len(b.cuts[f]) + 2
	}
	d.at = append(d.at, places)
	d.start = make([]int32, 1, d.n+1)
	for u := range d.n {
		for f := range d.cols {
			if e := d.at[f] + int(d.cols[f][u]); e != d.usual[f] {
				d.entry = append(d.entry, uint16(e))
			}
		}
		d.start = append(d.start, int32(len(d.entry)))
	}
	return d
}
