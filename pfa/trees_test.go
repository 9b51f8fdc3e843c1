package pfa

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// trainingTable makes rows whose risk rises with column 0, depends on column 1
// when column 0 is high, and has nothing to do with column 3; some are missing.
func trainingTable(n int) (cols [][]float32, label []bool, weight []float32, all []int32) {
	random := rand.New(rand.NewPCG(5, 9))
	cols = make([][]float32, 4)
	for i := range n {
		x := [4]float64{float64(random.IntN(40)), random.NormFloat64(), random.ExpFloat64(), random.Float64()}
		z := -4 + 0.1*x[0] + indicator(x[0] > 20)*x[1]*2 - 0.5*indicator(x[2] > 1)
		if random.IntN(4) == 0 {
			x[1] = math.NaN()
		}
		for j := range cols {
			cols[j] = append(cols[j], float32(x[j]))
		}
		label = append(label, random.Float64() < sigmoid(z))
		weight = append(weight, float32(1+random.IntN(3)))
		all = append(all, int32(i))
	}
	return cols, label, weight, all
}

var testBoosting = boosting{trees: 40, depth: 4, rate: 0.15, lambda: 1, minCover: 1, monotone: []int8{1, 0, 0, 0}, keepRows: 0.8, keepCols: 0.8, seed: 3}

func row(cols [][]float32, i int) []float64 {
	x := make([]float64, len(cols))
	for j := range cols {
		x[j] = float64(cols[j][i])
	}
	return x
}

func TestForestLearns(t *testing.T) {
	cols, label, weight, all := trainingTable(6000)
	bins := bin(cols)
	f, z := boost(bins, label, weight, all[:4000], testBoosting)
	var s []scored
	for i := range label {
		x := row(cols, i)
		if got := f.score(x); math.Abs(got-z[i]) > 1e-9 {
			t.Fatalf("row %d: %g by values, %g by bins", i, got, z[i])
		}
		if i >= 4000 {
			s = append(s, scored{z[i], 1, label[i]})
		}
	}
	if auc, _ := rankMetrics(s); auc < 0.78 {
		t.Errorf("AUC %.3f on rows not learned from", auc)
	}
	used := 0
	for _, tr := range f.trees {
		for _, n := range tr {
			used += int(indicator(n.feature >= 0))
		}
	}
	if used < 100 {
		t.Errorf("%d splits", used)
	}
}

func TestForestIsMonotone(t *testing.T) {
	cols, label, weight, all := trainingTable(4000)
	f, _ := boost(bin(cols), label, weight, all, testBoosting)
	for i := range 300 {
		x := row(cols, i)
		last := math.Inf(-1)
		for v := range 45 {
			x[0] = float64(v)
			z := f.score(x)
			if z < last {
				t.Fatalf("row %d: column 0 from %d to %d lowers the logit from %g to %g", i, v-1, v, last, z)
			}
			last = z
		}
	}
}

func TestForestIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	cols, label, weight, all := trainingTable(50000)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one, _ := boost(bin(cols), label, weight, all, testBoosting)
	runtime.GOMAXPROCS(3)
	three, _ := boost(bin(cols), label, weight, all, testBoosting)
	for i := range one.trees {
		if !slices.Equal(one.trees[i], three.trees[i]) {
			t.Fatalf("tree %d: %v with one processor, %v with three", i, one.trees[i], three.trees[i])
		}
	}
}

// outputOf is a tree's expected output when only the features in known are.
func (t tree) outputOf(at int32, x []float64, known uint) float64 {
	n := &t[at]
	if n.feature < 0 {
		return n.value
	}
	if known&(1<<n.feature) != 0 {
		v := x[n.feature]
		if v < n.cut || v != v && n.missingLeft {
			return t.outputOf(n.left, x, known)
		}
		return t.outputOf(n.right, x, known)
	}
	l, r := t[n.left].cover, t[n.right].cover
	return (l*t.outputOf(n.left, x, known) + r*t.outputOf(n.right, x, known)) / n.cover
}

// The explanation of a tree must be its Shapley values, computed here from
// their definition over all subsets.
func TestExplainIsExact(t *testing.T) {
	cols, label, weight, all := trainingTable(2000)
	f, _ := boost(bin(cols), label, weight, all, testBoosting)
	factorial := []float64{1, 1, 2, 6, 24}
	const m = 4
	for i := range 50 {
		x := row(cols, i)
		for _, tr := range f.trees[:10] {
			got := make([]float64, m)
			tr.explain(x, got)
			sum := tr.expected()
			for j := range m {
				want := 0.0
				for set := range uint(1 << m) {
					if set&(1<<j) == 0 {
						k := bits.OnesCount(set)
						want += factorial[k] * factorial[m-k-1] / factorial[m] * (tr.outputOf(0, x, set|1<<j) - tr.outputOf(0, x, set))
					}
				}
				if math.Abs(got[j]-want) > 1e-9 {
					t.Fatalf("row %d, feature %d: %g, want %g", i, j, got[j], want)
				}
				sum += got[j]
			}
			if leaf := tr.leaf(x).value; math.Abs(sum-leaf) > 1e-9 {
				t.Fatalf("row %d: sums to %g, the tree says %g", i, sum, leaf)
			}
		}
	}
}

func TestCuts(t *testing.T) {
	nan := float32(math.NaN())
	if cuts := cutsOf([]float32{nan, 3, 3, 3}); len(cuts) != 0 {
		t.Errorf("one value, cuts %v", cuts)
	}
	if cuts := cutsOf([]float32{0, 0, 0, 1, 5, nan}); len(cuts) != 2 || cuts[0] != 0.5 || cuts[1] != 3 {
		t.Errorf("cuts %v", cuts)
	}
	var many []float32
	for i := range 100000 {
		many = append(many, float32(i%5000)*float32(i%2))
	}
	cuts := cutsOf(many)
	if len(cuts) > maxBins-1 || len(cuts) < maxBins/2 {
		t.Errorf("%d cuts", len(cuts))
	}
	for _, x := range many[:2000] {
		b := binOf(cuts, float64(x))
		if b > 1 && float64(x) < cuts[b-2] || int(b)-1 < len(cuts) && float64(x) >= cuts[b-1] {
			t.Fatalf("%g in bin %d", x, b)
		}
	}
}

// Rows that no bin distinguishes are added up: the trees are those of the rows.
func TestAlikeRowsAreAddedUp(t *testing.T) {
	cols, label, _, all := trainingTable(3000)
	whole := testBoosting
	whole.keepRows = 1
	n := int32(len(label))
	half := slices.Clone(all)
	for j := range cols {
		cols[j] = append(cols[j], cols[j]...)
	}
	label = append(label, label...)
	for i := range n {
		all = append(all, n+i)
	}
	table := bin(cols)
	ones := slices.Repeat([]float32{1}, len(label))
	if d := table.distinct(label, ones, all); d.n > int(n) {
		t.Fatalf("%d distinct rows of %d", d.n, n)
	}
	once, _ := boost(table, label, slices.Repeat([]float32{2}, len(label)), half, whole)
	twice, z := boost(table, label, ones, all, whole)
	for k := range once.trees {
		for i, a := range once.trees[k] {
			b := twice.trees[k][i]
			if a.feature != b.feature || math.Abs(a.value-b.value) > 1e-9 || a.cover != b.cover {
				t.Fatalf("tree %d, node %d: %+v with weight 2, %+v twice", k, i, a, b)
			}
		}
	}
	for i := range n {
		if z[i] != z[n+i] {
			t.Fatalf("row %d: %g and %g", i, z[i], z[n+i])
		}
	}
}
