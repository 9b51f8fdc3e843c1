package pfa

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// How the model of ATA drives is trained. The numbers were chosen on
// time-forward folds of the training histories (see DESIGN.md).
const (
	trainEvery    Axis = 7 * 24 // hours between a drive's landmarks
	trainThin          = 8      // one in so many landmarks without errors is kept, with that weight
	trainFolds         = 4      // of drives, for the calibration
	slopePenalty       = 30     // ridge on every weight, in weighted landmarks
	sharePenalty       = 60     // ridge on the weights of the shorter horizons
	bendPenalty        = 5      // ridge on the bends of the calibration
	maxDateError       = 30     // days; drives whose hour counter disagrees more with the calendar are left out
	familyDrives       = 100    // a family has a column of its own from so many drives
	familyFailed       = 5      // … and so many failures
	steepFailed        = 100    // … and slopes of its own from so many failures
	maxSteep           = 5
	minDriftLogit      = 0.1
)

// foldSalt places drives in folds; other salts place landmarks.
const foldSalt = 1 << 32

func foldOf(d *Drive, folds int) int { return int(spread(d.Serial, foldSalt) % uint64(folds)) }

// usable reports whether a drive's clock can be trusted enough to train on.
func (d *Drive) usable() bool { return math.Abs(d.DateError) <= maxDateError }

// fitATA trains on the landmarks that s samples.
func fitATA(drives []Drive, s sampling) (*ataModel, *dataset, error) {
	taken := func(d *Drive) bool { return d.usable() && (s.take == nil || s.take(d)) }
	s.every, s.dense, s.thin = trainEvery, true, trainThin
	chosen := s
	chosen.take = taken
	families, steep := learnFamilies(drives, &chosen)
	schema := newATASchema(families, steep)
	m := &ataModel{schema: schema}
	rates := familyRates(drives, &chosen)
	data := chosen.sample(drives, schema, rates)
	bins := bin(data.dense)

	held, err := heldOutLogits(drives, data, bins, &fitting{schema, rates[allFamilies], s.complete})
	if err != nil {
		return nil, nil, fmt.Errorf("held-out folds: %w", err)
	}
	if m.cal, err = calibrate(held, data.rows); err != nil {
		return nil, nil, fmt.Errorf("calibration: %w", err)
	}
	m.drift = m.cal.drift(held, data, drives)

	var inverse *symmetric
	if m.month, inverse, err = fitLogistic(data.rows, ridge(data.rows.width, slopePenalty)); err != nil {
		return nil, nil, fmt.Errorf("30 days: %w", err)
	}
	m.cov = clusterCovariance(data.rows, m.month, inverse)
	use := data.complete(drives, s.complete, func(int) bool { return true })
	m.forest, _ = boost(bins, data.rows.label, data.rows.weight, use, treeBoosting)
	m.mean = m.forest.expected()
	share := func(outer, inner Axis) ([]float64, error) {
		part := data.rows.where(func(i int) bool { return data.marks[i].within(outer) })
		for i, k := 0, 0; i < data.rows.len(); i++ {
			if data.marks[i].within(outer) {
				part.label[k] = data.marks[i].within(inner)
				k++
			}
		}
		w, _, err := fitLogistic(part, ridge(part.width, sharePenalty))
		return w, err
	}
	if m.week, err = share(hours30d, hours7d); err != nil {
		return nil, nil, fmt.Errorf("7 days: %w", err)
	}
	if m.day, err = share(hours7d, hours24h); err != nil {
		return nil, nil, fmt.Errorf("24 hours: %w", err)
	}
	m.usual = usualLevels(drives, &chosen)
	m.forgetFamilies(rates[allFamilies])
	return m, data, nil
}

// forgetFamilies drops what was learned of single drive families. It is learned
// so that it does not hide in the other weights, but how a family fared in the
// past says little about its future (see DESIGN.md): every drive is scored as
// one of an average family.
func (m *ataModel) forgetFamilies(averageRate float64) {
	kept := m.schema.at.family
	for _, w := range []*[]float64{&m.month, &m.week, &m.day} {
		*w = append(slices.Clone((*w)[:kept]), (*w)[len(*w)-1])
	}
	from := func(i int) int {
		if i == kept {
			return m.cov.n - 1 // the intercept
		}
		return i
	}
	cov := newSymmetric(kept + 1)
	for i := range kept + 1 {
		for j := range i + 1 {
			*cov.at(i, j) = *m.cov.at(from(i), from(j))
		}
	}
	m.cov, m.schema, m.rate = cov, newATASchema(nil, 0), map[string]float64{allFamilies: averageRate}
}

// fitting is what is needed to fit and judge on parts of a dataset.
type fitting struct {
	schema      *ataSchema
	averageRate float64   // of all families
	complete    time.Time // see sampling
}

func ridge(width int, penalty float64) []float64 {
	p := make([]float64, width+1)
	for i := range width {
		p[i] = penalty
	}
	return p
}

// where copies the rows for which keep holds.
func (r *rows) where(keep func(i int) bool) *rows {
	out := newRows(r.width)
	for i := range r.len() {
		if !keep(i) {
			continue
		}
		out.index = append(out.index, r.index[r.start[i]:r.start[i+1]]...)
		out.value = append(out.value, r.value[r.start[i]:r.start[i+1]]...)
		out.start = append(out.start, int64(len(out.index)))
		out.weight = append(out.weight, r.weight[i])
		out.label = append(out.label, r.label[i])
		out.group = append(out.group, r.group[i])
	}
	return out
}

// learnFamilies picks the drive families that get columns of their own, those
// with most failures first, and how many of them get slopes of their own.
// Failures that the sampling does not know of yet do not count.
func learnFamilies(drives []Drive, s *sampling) (families []string, steep int) {
	count, failed := map[string]int{}, map[string]int{}
	for i := range drives {
		d := &drives[i]
		if !s.take(d) || !s.known.IsZero() && !d.First.Before(s.known) {
			continue
		}
		f := Family(d.Model)
		count[f]++
		if d.Failed && (s.known.IsZero() || d.Last.Before(s.known)) {
			failed[f]++
		}
	}
	for f, n := range count {
		if n >= familyDrives && failed[f] >= familyFailed {
			families = append(families, f)
		}
	}
	slices.SortFunc(families, func(a, b string) int {
		return cmp.Or(cmp.Compare(failed[b], failed[a]), cmp.Compare(a, b))
	})
	for steep < min(len(families), maxSteep) && failed[families[steep]] >= steepFailed {
		steep++
	}
	return families, steep
}

// treeBoosting is how the trees are grown.
var treeBoosting = boosting{trees: 150, depth: 5, rate: 0.05, lambda: 30, minCover: 3, monotone: treeMonotone,
	keepRows: 0.6, keepCols: 0.3, seed: 1}

// familyRates is the logarithm of the 30-day risk by drive family, drawn
// towards the rate of all by so many landmarks of the average drive.
func familyRates(drives []Drive, s *sampling) map[string]float64 {
	const towardsAll = 2000
	type counts struct{ all, failing float64 }
	families := map[string]*counts{}
	var total counts
	for i := range drives {
		family := Family(drives[i].Model)
		for _, l := range s.landmarks(i, &drives[i]) {
			c := families[family]
			if c == nil {
				c = &counts{}
				families[family] = c
			}
			failing := l.weight * indicator(l.within(hours30d))
			c.all, c.failing = c.all+l.weight, c.failing+failing
			total.all, total.failing = total.all+l.weight, total.failing+failing
		}
	}
	rates := make(map[string]float64, len(families)+1)
	rates[allFamilies] = math.Log(total.failing / total.all)
	for family, c := range families {
		rates[family] = math.Log((c.failing + towardsAll*total.failing/total.all) / (c.all + towardsAll))
	}
	return rates
}

// complete lists the rows for which keep holds and that lie on the day or after
// it from which all attributes were recorded. Trees learn from these alone:
// before it, a missing attribute would tell them the date.
func (data *dataset) complete(drives []Drive, from time.Time, keep func(i int) bool) []int32 {
	var use []int32
	for i, l := range data.marks {
		if keep(i) && !drives[l.drive].day(l.hour).Before(from) {
			use = append(use, int32(i))
		}
	}
	return use
}

// heldOutLogits scores every row by a model that has not seen its drive, as one
// of an average family.
func heldOutLogits(drives []Drive, data *dataset, bins *binned, how *fitting) ([]float64, error) {
	average := bins.with(familyRateColumn, how.averageRate)
	out := make([]float64, data.rows.len())
	fold := make([]int, len(out))
	for i, l := range data.marks {
		fold[i] = foldOf(&drives[l.drive], trainFolds)
	}
	for f := range trainFolds {
		w, _, err := fitLogistic(data.rows.where(func(i int) bool { return fold[i] != f }), ridge(data.rows.width, slopePenalty))
		if err != nil {
			return nil, err
		}
		clear(w[how.schema.at.family:data.rows.width])
		use := data.complete(drives, how.complete, func(i int) bool { return fold[i] != f })
		trees, _ := boost(bins, data.rows.label, data.rows.weight, use, treeBoosting)
		for i := range out {
			if fold[i] == f {
				out[i] = (1-treeShare)*data.rows.dot(i, w) + treeShare*average.score(trees, i)
			}
		}
	}
	return out, nil
}

// calibrate fits the map from held-out logits to honest ones. If the bends
// would make it fall somewhere, it is a straight line.
func calibrate(z []float64, data *rows) (calibration, error) {
	knots := []float64{logit(0.01), logit(0.1)}
	for _, k := range [][]float64{knots, nil} {
		r := newRows(1 + len(k))
		var v vector
		for i, x := range z {
			v.reset()
			v.put(0, x)
			for j, knot := range k {
				v.put(1+j, max(0, x-knot))
			}
			r.add(&v, float64(data.weight[i]), data.label[i], int(data.group[i]))
		}
		penalty := ridge(r.width, bendPenalty)
		penalty[0] = 0
		w, _, err := fitLogistic(r, penalty)
		if err != nil {
			return calibration{}, err
		}
		c := calibration{Offset: w[r.width], Slope: w[0], Knots: k, Bends: w[1:r.width]}
		if c.rising() {
			return c, nil
		}
	}
	return calibration{}, errors.New("the scores do not rise with the risk")
}

// drift estimates how much whole months of the training deviate from what is
// expected.
func (c *calibration) drift(z []float64, data *dataset, drives []Drive) float64 {
	months := monthly{}
	for i, l := range data.marks {
		y, _ := c.at(z[i])
		months.add(drives[l.drive].day(l.hour), l.weight, sigmoid(y), l.within(hours30d))
	}
	return months.drift(trainEvery)
}

// monthly sums what was observed and expected by calendar month.
type monthly map[int]*struct{ observed, expected float64 }

func (m monthly) add(day time.Time, weight, expected float64, failed bool) {
	key := day.Year()*12 + int(day.Month())
	if m[key] == nil {
		m[key] = &struct{ observed, expected float64 }{}
	}
	m[key].expected += weight * expected
	m[key].observed += weight * indicator(failed)
}

// drift is the root mean square of log(observed / expected) of the months,
// beyond what chance makes of their numbers. Landmarks lie so many hours apart:
// a failure is seen from several, which are one event.
func (m monthly) drift(every Axis) float64 {
	const enough = 10 // failures
	perFailure := float64(hours30d) / float64(every)
	var sum, n float64
	for _, k := range slices.Sorted(maps.Keys(m)) {
		failures := m[k].observed / perFailure
		if failures < enough || m[k].expected <= 0 {
			continue
		}
		x := math.Log(m[k].observed / m[k].expected)
		sum += x*x - 1/failures
		n++
	}
	if n == 0 || sum <= 0 {
		return minDriftLogit
	}
	return max(minDriftLogit, math.Sqrt(sum/n))
}

// usualLevels is, by vendor and signal, the median last value of drives that
// did not fail.
func usualLevels(drives []Drive, s *sampling) map[string]map[string]float64 {
	values := map[string]map[string][]float64{}
	for i := range drives {
		d := &drives[i]
		if d.Failed || !s.take(d) {
			continue
		}
		st := newReplay(d).to(d.HoursLast)
		if values[st.vendor] == nil {
			values[st.vendor] = map[string][]float64{}
		}
		for _, index := range ataCounters {
			if sr := st.find(index); sr != nil {
				values[st.vendor][tracked[index]] = append(values[st.vendor][tracked[index]], sr.level)
			}
		}
	}
	out := map[string]map[string]float64{}
	for vendor, signals := range values {
		out[vendor] = map[string]float64{}
		for name, v := range signals {
			slices.Sort(v)
			out[vendor][name] = v[len(v)/2]
		}
	}
	return out
}

// endOf is the last day any drive was seen: what lies after it is not known.
func endOf(drives []Drive) time.Time {
	var end time.Time
	for i := range drives {
		if drives[i].Last.After(end) {
			end = drives[i].Last
		}
	}
	return end
}
