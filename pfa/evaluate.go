package pfa

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Metrics is what an evaluation found. Rates are 0 to 1.
type Metrics struct {
	Model      string  `json:"model,omitempty"` // the one that was judged; "" when each third of the drives had its own
	From       string  `json:"from"`            // the first day of the landmarks
	Until      string  `json:"until"`           // the day after the last
	Drives     int     `json:"drives"`          // drives scored
	Failures   int     `json:"failures"`        // of them, failing in the period
	Landmarks  int     `json:"landmarks"`       // rows
	Positives  int     `json:"positives"`       // of them, failing within 30 days
	AUC        Measure `json:"auc"`             // area under the ROC curve
	AP         Measure `json:"ap"`              // average precision
	ObsExp     Measure `json:"observed_to_expected"`
	Drift      float64 `json:"drift"`         // deviation of months' log(observed / expected) from 0, beyond chance; logits
	RecallDay  float64 `json:"recall_1d"`     // failing drives flagged at least 1 day ahead, when 1 % of healthy drives are ever flagged
	RecallWeek float64 `json:"recall_7d"`     // … at least 7 days ahead
	Threshold  float64 `json:"threshold"`     // the 30-day risk, in percent, at which 1 % of healthy drives are ever flagged
	Smartd     Rule    `json:"smartd_rule"`   // 197 or 198 above zero
	Scrutiny   Rule    `json:"scrutiny_rule"` // its table of thresholds
	Bins       []Bin   `json:"bins"`
	Slices     []Slice `json:"slices,omitempty"` // by vendor and family
	Policy     []Level `json:"policy"`           // what fixed thresholds would have done
}

// Measure is a number with its 90 % interval, from a bootstrap over drives.
type Measure struct {
	Value float64 `json:"value"`
	Lo    float64 `json:"lo"`
	Hi    float64 `json:"hi"`
}

// Bin compares expectation and outcome among landmarks of similar risk.
type Bin struct {
	Below    float64 `json:"below"` // percent
	Rows     int     `json:"rows"`
	Observed int     `json:"observed"`
	Expected float64 `json:"expected"`
	Lo       float64 `json:"expected_lo"`
	Hi       float64 `json:"expected_hi"`
}

// Level is one threshold's fate: the share of failing drives that crossed it
// at least 1 and 7 days ahead, and of healthy drives that ever did.
type Level struct {
	Percent     float64 `json:"percent"`
	Day         float64 `json:"failing_1d_ahead"`
	Week        float64 `json:"failing_7d_ahead"`
	FalseAlarms float64 `json:"healthy_ever"`
}

// prediction is one scored landmark.
type prediction struct {
	landmark
	score linearScore
	rules [rules]bool
	extra bool // scored only to see what was known 1 and 7 days ahead
}

const (
	evaluateEvery Axis = 14 * 24
	evaluateFolds      = 3
)

// Evaluate tests the way of training, not one model: for each third of the
// drives it trains on the other two thirds, on what was known before the day
// from, and scores the third's landmarks from that day on. So every scored
// drive is unknown to its model, and lies in its future. complete is the day
// from which all attributes were recorded, if they were not always.
func Evaluate(drives []Drive, from, complete time.Time) (Metrics, error) {
	end := endOf(drives)
	until := end.AddDate(0, 0, -30)
	if !from.Before(until) {
		return Metrics{}, fmt.Errorf("no landmark can be judged: from %s is not before %s, 30 days before the data end",
			from.Format(time.DateOnly), until.Format(time.DateOnly))
	}
	var all []prediction
	for f := range evaluateFolds {
		m, _, err := fitATA(drives, sampling{from: complete, known: from, until: from.AddDate(0, 0, -30),
			take: func(d *Drive) bool { return foldOf(d, evaluateFolds) != f }})
		if err != nil {
			return Metrics{}, fmt.Errorf("fold %d: %w", f+1, err)
		}
		test := sampling{from: from, until: until, every: evaluateEvery,
			take: func(d *Drive) bool { return d.usable() && foldOf(d, evaluateFolds) == f }}
		all = append(all, m.predict(drives, &test)...)
	}
	return measure(all, drives, from, until, sliceFailures), nil
}

// predict scores the landmarks of a sampling, and failing drives 1 and 7 days
// before their end, too.
func (m *ataModel) predict(drives []Drive, s *sampling) []prediction {
	parts := make([][]prediction, chunks)
	inChunks(len(drives), func(c, lo, hi int) {
		in := newInputs()
		for id := lo; id < hi; id++ {
			d := &drives[id]
			marks := s.landmarks(id, d)
			if len(marks) == 0 {
				continue
			}
			last := len(marks)
			if day := d.day(d.HoursLast); d.Failed && day.Before(s.until.AddDate(0, 0, 30)) {
				for _, lead := range []Axis{hours7d, hours24h} {
					if h := d.HoursLast - lead; h >= d.HoursFirst && !d.day(h).Before(s.from) {
						marks = append(marks, landmark{drive: id, hour: h, lead: lead, weight: 1})
					}
				}
			}
			ruled := make([][rules]bool, len(marks))
			scores := make([]linearScore, len(marks))
			order := make([]int, len(marks))
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(marks[a].hour, marks[b].hour) })
			re := newReplay(d)
			for _, i := range order {
				st := re.to(marks[i].hour)
				m.extract(st, marks[i].hour, in)
				scores[i], ruled[i] = m.score(in), st.ruled()
			}
			for i := range marks {
				parts[c] = append(parts[c], prediction{marks[i], scores[i], ruled[i], i >= last})
			}
		}
	})
	return slices.Concat(parts...)
}

// fate is what the scores of one drive add up to.
type fate struct {
	failed              bool
	ever, byDay, byWeek float64 // the highest 30-day risk ever, and until 1 and 7 days before the end
}

// measure judges predictions. A family with fewer than least failing drives is one
// of the others.
func measure(all []prediction, drives []Drive, from, until time.Time, least int) Metrics {
	m := Metrics{From: from.Format(time.DateOnly), Until: until.Format(time.DateOnly)}
	fates := map[int]*fate{}
	var grid []prediction
	for _, p := range all {
		f := fates[p.drive]
		if f == nil {
			f = &fate{failed: drives[p.drive].Failed}
			fates[p.drive] = f
		}
		f.ever = max(f.ever, p.score.month)
		if p.lead >= hours24h {
			f.byDay = max(f.byDay, p.score.month)
		}
		if p.lead >= hours7d {
			f.byWeek = max(f.byWeek, p.score.month)
		}
		if !p.extra {
			grid = append(grid, p)
		}
	}
	m.Drives, m.Landmarks = len(fates), len(grid)
	var healthy []float64
	var failing []*fate
	for _, f := range fates {
		if f.failed {
			failing = append(failing, f)
		} else {
			healthy = append(healthy, f.ever)
		}
	}
	m.Failures = len(failing)
	slices.Sort(healthy)
	flagged := func(th float64) Level {
		l := Level{Percent: 100 * th}
		for _, f := range failing {
			l.Day += indicator(f.byDay >= th) / float64(len(failing))
			l.Week += indicator(f.byWeek >= th) / float64(len(failing))
		}
		i, _ := slices.BinarySearch(healthy, th)
		l.FalseAlarms = float64(len(healthy)-i) / float64(max(1, len(healthy)))
		return l
	}
	if len(healthy) > 0 {
		th := healthy[min(len(healthy)-1, len(healthy)-len(healthy)/100)]
		l := flagged(th)
		m.Threshold, m.RecallDay, m.RecallWeek = l.Percent, l.Day, l.Week
	}
	for _, th := range []float64{0.02, 0.05, 0.10, 0.25, 0.50} {
		m.Policy = append(m.Policy, flagged(th))
	}
	m.rank(grid)
	m.bins(grid)
	m.slices(slices.Clone(grid), drives, least)
	months := monthly{}
	for _, p := range grid {
		months.add(drives[p.drive].day(p.hour), 1, p.score.month, p.within(hours30d))
	}
	m.Drift = months.drift(evaluateEvery)
	return m
}

// rank fills in the measures of order and of totals, and the rules'.
func (m *Metrics) rank(grid []prediction) {
	slices.SortStableFunc(grid, func(a, b prediction) int { return cmp.Compare(b.score.month, a.score.month) })
	s := make([]scored, len(grid))
	for i, p := range grid {
		s[i] = scored{p.score.month, 1, p.within(hours30d)}
		m.Positives += int(indicator(s[i].label))
	}
	m.Smartd, m.Scrutiny = ruleBeside(ruleSmartd, grid, s), ruleBeside(ruleScrutiny, grid, s)

	value := func(s []scored) (auc, ap, oe float64) {
		auc, ap = rankSorted(s)
		var o, e float64
		for _, x := range s {
			o += x.weight * indicator(x.label)
			e += x.weight * x.score
		}
		return auc, ap, o / e
	}
	m.AUC.Value, m.AP.Value, m.ObsExp.Value = value(s)
	const times = 200
	var aucs, aps, oes [times]float64
	random := rand.New(rand.NewPCG(7, 7))
	for b := range times {
		drawn := map[int]float64{}
		for i, p := range grid {
			w, ok := drawn[p.drive]
			if !ok {
				w = poissonOne(random)
				drawn[p.drive] = w
			}
			s[i].weight = w
		}
		aucs[b], aps[b], oes[b] = value(s)
	}
	ends := func(x []float64) (lo, hi float64) {
		slices.Sort(x)
		return x[times/20], x[times-1-times/20]
	}
	m.AUC.Lo, m.AUC.Hi = ends(aucs[:])
	m.AP.Lo, m.AP.Hi = ends(aps[:])
	m.ObsExp.Lo, m.ObsExp.Hi = ends(oes[:])
}

// poissonOne draws how often a drive occurs in a bootstrap sample.
func poissonOne(r *rand.Rand) float64 {
	const eToMinusOne = 0.36787944117144233
	n, p := 0.0, r.Float64()
	for p > eToMinusOne {
		p *= r.Float64()
		n++
	}
	return n
}

var binEdges = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1}

func (m *Metrics) bins(grid []prediction) {
	m.Bins = make([]Bin, len(binEdges))
	for i, e := range binEdges {
		m.Bins[i].Below = 100 * e
	}
	for _, p := range grid {
		i, exact := slices.BinarySearch(binEdges, p.score.month)
		if exact && i < len(binEdges)-1 {
			i++
		}
		b := &m.Bins[i]
		b.Rows++
		b.Expected += p.score.month
		b.Lo += p.score.lo
		b.Hi += p.score.hi
		if p.within(hours30d) {
			b.Observed++
		}
	}
}
