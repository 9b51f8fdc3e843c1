package pfa

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// How the model of ATA drives is trained. The numbers were chosen on
// time-forward folds of the training histories (see DESIGN.md).
const (
	trainEvery   Axis = 7 * 24 // hours between a drive's landmarks
	trainThin         = 8      // one in so many landmarks without errors is kept, with that weight
	trainHide         = 0.2    // share of landmarks that lose attributes
	trainFolds        = 4      // of drives, for the calibration
	slopePenalty      = 30     // ridge on every weight, in weighted landmarks
	sharePenalty      = 60     // ridge on the weights of the shorter horizons
	maxDateError      = 30     // days; drives whose hour counter disagrees more with the calendar are left out
	presentDays       = 60     // the fleet of so many days is the present one
	leastPresent      = 0.02   // what a landmark of a family counts at least whose drives are gone
	mostPresent       = 3      // … and at most, of one that has just come
)

// foldSalt places drives in folds; other salts place landmarks.
const foldSalt = 1 << 32

func foldOf(d *Drive, folds int) int { return int(spread(d.Serial, foldSalt) % uint64(folds)) }

// usable reports whether a drive's clock can be trusted enough to train on.
func (d *Drive) usable() bool { return math.Abs(d.DateError) <= maxDateError }

// treeBoosting is how the trees are grown.
var treeBoosting = boosting{trees: 150, depth: 5, rate: 0.05, lambda: 30, minCover: 3, monotone: treeMonotone,
	keepRows: 0.6, keepCols: 0.3, seed: 1}

// fitATA trains on the landmarks that s samples. They should not lie before the
// day from which all attributes are recorded: before it, a missing attribute
// would tell the date.
func fitATA(drives []Drive, s sampling) (*ataModel, *dataset, error) {
	take := s.take
	s.take = func(d *Drive) bool { return d.usable() && (take == nil || take(d)) }
	s.every, s.dense, s.thin, s.hide = trainEvery, true, trainThin, trainHide
	m := &ataModel{schema: newATASchema()}
	data := s.sample(drives, m.schema)
	if data.rows.len() == 0 {
		return nil, nil, fmt.Errorf("no landmark whose next 30 days are known, of drives whose hours agree with the calendar within %d days", maxDateError)
	}
	data.rows.weight = data.presentWeights(drives)
	bins := bin(data.dense)
	both, linear, err := heldOutLogits(drives, data, bins)
	if err != nil {
		return nil, nil, fmt.Errorf("held-out folds: %w", err)
	}
	if m.month, err = fitLogistic(data.rows, ridge(data.rows.width, slopePenalty)); err != nil {
		return nil, nil, fmt.Errorf("30 days: %w", err)
	}
	m.forest, _ = boost(bins, data.rows.label, data.rows.weight, every(data.rows.len()), treeBoosting)
	m.mean = m.forest.expected()
	for _, c := range []struct {
		to   *calibration
		held []float64
	}{{&m.cal, both}, {&m.calLinear, linear}} {
		if *c.to, err = calibrateShown(c.held, data); err != nil {
			return nil, nil, fmt.Errorf("calibration: %w", err)
		}
	}
	forward, err := m.cal.forwardDrift(data, drives, bins)
	if err != nil {
		return nil, nil, fmt.Errorf("drift: %w", err)
	}
	m.drift = max(m.cal.drift(both, data, drives), forward)
	share := func(outer, inner Axis) ([]float64, error) {
		part := data.rows.where(func(i int) bool { return data.marks[i].within(outer) })
		for i, k := 0, 0; i < data.rows.len(); i++ {
			if data.marks[i].within(outer) {
				part.label[k] = data.marks[i].within(inner)
				k++
			}
		}
		return fitLogistic(part, ridge(part.width, sharePenalty))
	}
	if m.week, err = share(hours30d, hours7d); err != nil {
		return nil, nil, fmt.Errorf("7 days: %w", err)
	}
	if m.day, err = share(hours7d, hours24h); err != nil {
		return nil, nil, fmt.Errorf("24 hours: %w", err)
	}
	m.usual = usualLevels(drives, &s)
	return m, data, nil
}

// presentWeights are the rows' weights, changed so that each drive family counts
// as much as it does among the latest landmarks: the model is for the fleet that
// there is, and families that are gone have taught others' drives wrong.
func (data *dataset) presentWeights(drives []Drive) []float32 {
	var last time.Time
	for _, l := range data.marks {
		if day := drives[l.drive].day(l.hour); day.After(last) {
			last = day
		}
	}
	from := last.AddDate(0, 0, -presentDays)
	type share struct{ all, present float64 }
	families := map[string]*share{}
	var total share
	family := make([]*share, len(data.marks))
	for i, l := range data.marks {
		name := Family(drives[l.drive].Model)
		if families[name] == nil {
			families[name] = &share{}
		}
		f, w := families[name], float64(data.rows.weight[i])
		family[i] = f
		f.all, total.all = f.all+w, total.all+w
		if !drives[l.drive].day(l.hour).Before(from) {
			f.present, total.present = f.present+w, total.present+w
		}
	}
	out := make([]float32, len(data.marks))
	for i, w := range data.rows.weight {
		f := family[i]
		out[i] = w * float32(min(max((f.present/total.present)/(f.all/total.all), leastPresent), mostPresent))
	}
	return out
}

func ridge(width int, penalty float64) []float64 {
	p := make([]float64, width+1)
	for i := range width {
		p[i] = penalty
	}
	return p
}

// every is the places 0 to n-1.
func every(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
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

// heldOutLogits scores every row by models that have not seen its drive: by
// linear model and trees, and by the linear one alone.
func heldOutLogits(drives []Drive, data *dataset, bins *binned) (both, linear []float64, err error) {
	both, linear = make([]float64, data.rows.len()), make([]float64, data.rows.len())
	fold := make([]int, len(both))
	for i, l := range data.marks {
		fold[i] = foldOf(&drives[l.drive], trainFolds)
	}
	for f := range trainFolds {
		w, err := fitLogistic(data.rows.where(func(i int) bool { return fold[i] != f }), ridge(data.rows.width, slopePenalty))
		if err != nil {
			return nil, nil, err
		}
		use := slices.DeleteFunc(every(len(fold)), func(i int32) bool { return fold[i] == f })
		_, z := boost(bins, data.rows.label, data.rows.weight, use, treeBoosting)
		for i := range both {
			if fold[i] == f {
				linear[i] = data.rows.dot(i, w)
				both[i] = (1-treeShare)*linear[i] + treeShare*z[i]
			}
		}
	}
	return both, linear, nil
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
