package pfa

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/pfa/leak"
)

// memoryHorizon is how far ahead the labels of a memory table look.
const memoryHorizon = 7 * 24 * time.Hour

// memoryBoosting is how a memory model's trees are grown. They are few and
// shallow: tables of memory failures have some hundred positives.
var memoryBoosting = boosting{trees: 120, depth: 4, rate: 0.05, lambda: 10, minCover: 1, keepRows: 0.7, keepCols: 0.4, seed: 1}

// fewColumns is up to how many columns each tree sees all.
const fewColumns = 8

// MemoryTraining says what a memory model is made from.
type MemoryTraining struct {
	Name     string
	Grade    Grade
	Table    *FeatureTable
	Source   Source
	Licence  string
	Accept   Accept
	Progress func(step string)
}

// TrainMemory makes a model of memory modules from a table of features, and
// judges it on modules and times that the judged model has not seen.
func TrainMemory(in MemoryTraining) (*MemoryModel, error) {
	say := in.Progress
	if say == nil {
		say = func(string) {}
	}
	f := in.Table
	if err := f.split(memoryHorizon); err != nil {
		return nil, err
	}
	how := memoryBoosting
	how.monotone, how.keepCols = make([]int8, len(f.names)), max(how.keepCols, min(1, fewColumns/float64(len(f.names))))
	bins := bin(f.cols)
	label, weight := make([]bool, f.n), make([]float32, f.n)
	for i := range f.rows {
		label[i], weight[i] = f.rows[i].Label, 1
	}
	say("looking for leaks")
	accepted, err := f.honest(in.Accept, bins, weight)
	if err != nil {
		return nil, err
	}
	learn, judge := f.use(leak.Training), f.use(leak.Validation)
	if failing(label, judge) < leastFailing || failing(label, learn) < leastFailing {
		return nil, fmt.Errorf("%s: %d rows with label 1 to learn from and %d to judge on, expected at least %d of each",
			f.Name, failing(label, learn), failing(label, judge), leastFailing)
	}

	say("evaluating on unseen modules, later in time")
	judged, err := f.fit(bins, label, weight, learn, how)
	if err != nil {
		return nil, err
	}
	say("training on all")
	all, err := f.fit(bins, label, weight, f.use(leak.Unused), how)
	if err != nil {
		return nil, err
	}
	m := &MemoryModel{forest: all.forest}
	first, last := f.rows[0].At, f.rows[0].At
	for i := range f.rows {
		if f.rows[i].At.Before(first) {
			first = f.rows[i].At
		}
		if f.rows[i].At.After(last) {
			last = f.rows[i].At
		}
	}
	m.header = MemoryHeader{Name: in.Name, Kind: kindMemory, Grade: in.Grade, Features: f.names, Texts: f.texts,
		Calibration: all.cal, Spread: all.spread, Trees: len(all.forest.trees), TreesBase: all.forest.base, Usual: f.usual(),
		Provenance: Provenance{Sources: []Source{in.Source}, Until: last.Format(time.DateOnly), Landmarks: f.n, Licence: in.Licence,
			Accepted: accepted, Split: fmt.Sprintf("evaluation: %d rows learnt from, %d rows of other modules judged on, at least %.0f days later; "+
				"calibration: %d folds of modules", len(learn), len(judge), memoryHorizon.Hours()/24, trainFolds)}}
	m.header.Provenance.Drives, m.header.Provenance.Failures = f.things()
	m.header.Evaluation = f.judge(judged, label, judge)
	m.mean = m.forest.expected()
	for _, i := range goldenRows(label) {
		m.header.Golden = append(m.header.Golden, m.goldenOf(f.row(i)))
	}
	file, err := m.Bytes()
	if err != nil {
		return nil, err
	}
	return LoadMemory(file)
}

func failing(label []bool, rows []int32) (n int) {
	for _, i := range rows {
		n += int(indicator(label[i]))
	}
	return n
}

// honest checks the table against the rules.
func (f *FeatureTable) honest(accept Accept, bins *binned, weight []float32) ([]Accepted, error) {
	plan := f.plan(memoryHorizon)
	found := append(leak.Split(plan), leak.Features(plan)...)
	found = append(found, leak.Probes(plan)...)
	learn, judge := f.use(leak.Training), f.use(leak.Validation)
	how := boosting{trees: shuffleTrees, depth: 4, rate: 0.1, lambda: 5, minCover: 1, monotone: make([]int8, len(f.names)), keepRows: 1,
		keepCols: max(0.5, min(1, fewColumns/float64(len(f.names)))), seed: 3}
	if len(judge) > 0 && len(learn) > 0 {
		shuffled, err := leak.Shuffle(plan, 1, func(labels []bool) ([]float64, error) {
			trees, _ := boost(bins, labels, weight, learn, how)
			out := make([]float64, len(judge))
			for k, i := range judge {
				out[k] = bins.score(trees, int(i))
			}
			return out, nil
		})
		if err != nil {
			return nil, err
		}
		found = append(found, shuffled...)
	}
	return accept.settle(found)
}

// fitted is a forest with the calibration measured on folds of modules.
type fitted struct {
	forest *forest
	cal    calibration
	spread float64 // standard deviation of the logit between models of different folds, and drift
	z      []float64
}

func (f *FeatureTable) fit(bins *binned, label []bool, weight []float32, use []int32, how boosting) (*fitted, error) {
	held := make([]float64, len(use))
	data := newRows(1)
	var none vector
	var between float64
	folds := make([]*forest, trainFolds)
	fold := func(i int32) int { return int(spread(f.rows[i].Thing, foldSalt+2) % trainFolds) }
	for k := range folds {
		var others []int32
		for _, i := range use {
			if fold(i) != k {
				others = append(others, i)
			}
		}
		if failing(label, others) == 0 {
			return nil, errors.New("a fold has no failing module")
		}
		folds[k], _ = boost(bins, label, weight, others, how)
	}
	for n, i := range use {
		held[n] = bins.score(folds[fold(i)], int(i))
		data.add(&none, 1, label[i], n)
		var sum, squares float64
		for _, t := range folds {
			z := bins.score(t, int(i))
			sum, squares = sum+z, squares+z*z
		}
		between += (squares - sum*sum/trainFolds) / (trainFolds - 1)
	}
	out := &fitted{}
	var err error
	if out.cal, err = calibrate(held, data); err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	out.forest, out.z = boost(bins, label, weight, use, how)
	out.spread = math.Hypot(math.Sqrt(between/float64(len(use))), priorSpread/2)
	return out, nil
}

// judge measures a fitted model on rows it has not seen.
func (f *FeatureTable) judge(m *fitted, label []bool, rows []int32) Metrics {
	out := Metrics{Landmarks: len(rows), Positives: failing(label, rows)}
	s := make([]scored, len(rows))
	for k, i := range rows {
		y, _ := m.cal.at(m.z[i])
		s[k] = scored{sigmoid(y), 1, label[i]}
	}
	value := func(s []scored) (auc, ap, oe float64) {
		auc, ap = rankMetrics(s)
		var o, e float64
		for _, x := range s {
			o += x.weight * indicator(x.label)
			e += x.weight * x.score
		}
		return auc, ap, o / e
	}
	out.AUC.Value, out.AP.Value, out.ObsExp.Value = value(s)
	const times = 100
	var sums [3][]float64
	random := rand.New(rand.NewPCG(7, 7))
	for range times {
		for i := range s {
			s[i].weight = poissonOne(random)
		}
		a, b, c := value(s)
		sums[0], sums[1], sums[2] = append(sums[0], a), append(sums[1], b), append(sums[2], c)
	}
	for i, to := range []*Measure{&out.AUC, &out.AP, &out.ObsExp} {
		slices.Sort(sums[i])
		to.Lo, to.Hi = sums[i][times/20], sums[i][times-1-times/20]
	}
	var first, last time.Time
	for _, i := range rows {
		at := f.rows[i].At
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	out.From, out.Until = first.Format(time.DateOnly), last.AddDate(0, 0, 1).Format(time.DateOnly)
	return out
}

// things counts the modules and the failing ones.
func (f *FeatureTable) things() (all, failing int) {
	seen := map[string]bool{}
	for i := range f.rows {
		r := &f.rows[i]
		was, known := seen[r.Thing]
		seen[r.Thing] = was || r.Label
		all += int(indicator(!known))
		failing += int(indicator(r.Label && !was))
	}
	return all, failing
}

// usual is the median of each feature among the modules that did not fail.
func (f *FeatureTable) usual() []float64 {
	out := make([]float64, len(f.names))
	for c := range out {
		var v []float32
		for i, x := range f.cols[c] {
			if x == x && !f.rows[i].Label {
				v = append(v, x)
			}
		}
		if len(v) > 0 {
			slices.Sort(v)
			out[c] = float64(v[len(v)/2])
		}
	}
	return out
}

func (f *FeatureTable) row(i int) []float64 {
	out := make([]float64, len(f.cols))
	for c := range out {
		out[c] = float64(f.cols[c][i])
	}
	return out
}

// goldenRows picks four rows that failed and four that did not.
func goldenRows(label []bool) (rows []int) {
	const each = 4
	var of [2][]int
	for i, y := range label {
		k := int(indicator(y))
		of[k] = append(of[k], i)
	}
	for _, list := range of {
		for k := range min(each, len(list)) {
			rows = append(rows, list[len(list)*k/each])
		}
	}
	return rows
}
