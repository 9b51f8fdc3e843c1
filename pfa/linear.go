package pfa

import (
	"cmp"
	"math"
	"slices"
)

// ataModel is the trained model of ATA hard drives. The logit of failing within
// 30 days is the mean of a linear one and of boosted trees, calibrated; what
// part of that probability falls into the first week, and of that into the first
// day, are two more linear logits. So horizons are ordered by construction,
// whatever the weights.
type ataModel struct {
	schema    *ataSchema
	month     []float64                     // weights of failing within 30 days; the last is the intercept
	forest    *forest                       // the same, by trees
	mean      float64                       // what the forest says when nothing is known
	week      []float64                     // weights of failing within 7 days given within 30
	day       []float64                     // weights of failing within 24 hours given within 7 days
	cal       calibration                   // of both together
	calLinear calibration                   // of the linear one alone
	drift     float64                       // standard deviation, in logits, between months of a fleet's life
	usual     map[string]map[string]float64 // by vendor and signal: the median of healthy drives
	fleet     map[string]float64            // by family, "" for all: what the operator's own fleet adds to the logit
}

// interval90 is how many standard deviations a 90 % interval reaches.
const interval90 = 1.6448536269514722

// linearScore is the outcome of one evaluation: raw and calibrated logits and
// the probabilities (0 to 1).
type linearScore struct {
	raw, logit    float64
	day, week     float64
	month, lo, hi float64
}

// share of the trees in the logit; the rest is the linear model's.
const treeShare = 0.7

// inputs are the features of one component at one time, and room for what
// explains them.
type inputs struct {
	known  int // how many error counters it reports
	sparse vector
	dense  []float64
	phi    []float64
	told   explained
	shift  float64 // see ataModel.fleet
}

func newInputs() *inputs {
	return &inputs{dense: make([]float64, len(treeColumns)), phi: make([]float64, len(treeColumns))}
}

func (m *ataModel) extract(s *State, t Axis, in *inputs) {
	m.schema.extract(s, t, &in.sparse)
	treeRow(s, t, in.dense)
	in.count()
	in.shift = m.fleet[""]
	if s.model != "" {
		in.shift += m.fleet[s.model]
	}
}

// count counts the counters whose level is known, power cycles aside.
func (in *inputs) count() {
	in.known = 0
	for c := range ataCounters {
		if level := in.dense[c*treeColumnsOfCounter]; c != cCycles && level == level {
			in.known++
		}
	}
}

// leastForTrees is how many error counters a drive must report to be scored by
// trees; with fewer the linear model is on its own.
const leastForTrees = 2

// trees reports whether trees take part in a score.
func (in *inputs) trees() bool { return in.known >= leastForTrees }

func dot(w []float64, v *vector) float64 {
	s := w[len(w)-1]
	for k, i := range v.index {
		s += w[i] * v.value[k]
	}
	return s
}

func (m *ataModel) score(in *inputs) linearScore {
	var s linearScore
	v, cal := &in.sparse, &m.calLinear
	s.raw = dot(m.month, v)
	if in.trees() {
		s.raw, cal = (1-treeShare)*s.raw+treeShare*m.forest.score(in.dense), &m.cal
	}
	s.logit, _ = cal.at(s.raw)
	s.logit += in.shift
	s.month = sigmoid(s.logit)
	lo, hi := cal.Abers.at(s.raw)
	s.lo = sigmoid(min(lo+in.shift, s.logit) - interval90*m.drift)
	s.hi = sigmoid(max(hi+in.shift, s.logit) + interval90*m.drift)
	s.week = s.month * sigmoid(dot(m.week, v))
	s.day = s.week * sigmoid(dot(m.day, v))
	return s
}

func (s linearScore) risk() Risk {
	month := Estimate{100 * s.month, 100 * s.lo, 100 * s.hi}
	part := func(p float64) Estimate {
		if s.month == 0 {
			return Estimate{}
		}
		f := p / s.month
		return Estimate{100 * p, f * month.Lo, f * month.Hi}
	}
	return Risk{Day: part(s.day), Week: part(s.week), Month: month}
}

// contributions are the parts of the raw logit by what they explain: weight
// times feature of the linear model, Shapley values of the trees.
type contributions struct {
	baseline float64
	several  float64
	counter  [len(counterArray)]float64
}

var counterArray = [...]int{cReallocated, cUncorrectable, cPending, cOffline, cTimeout, cEvents, cHighFly, cSpin, cCycles}

func (m *ataModel) contributions(in *inputs) contributions {
	share := 0.0
	if in.trees() {
		share = treeShare
	}
	c := contributions{baseline: (1-share)*m.month[len(m.month)-1] + share*m.mean}
	for k, i := range in.sparse.index {
		c.add(m.schema.group[i], (1-share)*m.month[i]*in.sparse.value[k])
	}
	if share == 0 {
		return c
	}
	for _, part := range in.told.explain(m.forest, in.dense, in.phi) {
		c.baseline += treeShare * part.baseline
		c.several += treeShare * part.several
		for i, x := range part.counter {
			c.counter[i] += treeShare * x
		}
	}
	return c
}

func (c *contributions) add(group int8, x float64) {
	switch group {
	case groupBaseline:
		c.baseline += x
	case groupSeveral:
		c.several += x
	default:
		c.counter[group] += x
	}
}

// explain returns the reasons of a score; their contributions sum to its logit.
func (m *ataModel) explain(s *State, t Axis, in *inputs, score linearScore) []Reason {
	c := m.contributions(in)
	for i, x := range c.counter { // what a drive does not report belongs to its kind
		if s.find(ataCounters[i]) == nil {
			c.baseline, c.counter[i] = c.baseline+x, 0
		}
	}
	cal := &m.calLinear
	if in.trees() {
		cal = &m.cal
	}
	base, _ := cal.at(c.baseline)
	base += in.shift
	reasons := []Reason{{Part: PartBaseline, Contribution: c.baseline + in.shift, Text: baselineWords(s, 100*sigmoid(base))}}
	if d := score.logit - score.raw - in.shift; d != 0 {
		reasons = append(reasons, Reason{Part: PartCalibration, Contribution: d, Text: "correction measured on drives held out of training"})
	}
	usual := m.usual[s.vendor]
	for i, x := range c.counter {
		if x == 0 {
			continue
		}
		sr := s.find(ataCounters[i])
		r := Reason{Part: PartSignal, Signal: tracked[sr.signal], From: sr.level, Value: sr.level,
			Usual: usual[tracked[sr.signal]], Contribution: x}
		if sr.risen {
			r.From, r.Since = sr.before, axisTime(sr.began)
		}
		r.Text = counterWords(r, sr, t)
		reasons = append(reasons, r)
	}
	if c.several != 0 {
		reasons = append(reasons, Reason{Part: PartCombination, Contribution: c.several, Text: severalWords(c.several, reasons)})
	}
	slices.SortStableFunc(reasons, func(a, b Reason) int {
		return cmp.Compare(math.Abs(b.Contribution), math.Abs(a.Contribution))
	})
	return reasons
}
