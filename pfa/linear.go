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
	schema *ataSchema
	month  []float64          // weights of failing within 30 days; the last is the intercept
	forest *forest            // the same, by trees
	mean   float64            // what the forest says when nothing is known
	rate   map[string]float64 // by family: the logarithm of its usual 30-day risk
	week   []float64          // weights of failing within 7 days given within 30
	day    []float64          // weights of failing within 24 hours given within 7 days
	cov    *symmetric         // covariance of month, by drive
	cal    calibration
	drift  float64                       // standard deviation, in logits, between months of a fleet's life
	usual  map[string]map[string]float64 // by vendor and signal: the median of healthy drives
	fleet  map[string]float64            // by family, "" for all: what the operator's own fleet adds to the logit
}

// calibration is a rising piecewise-linear map between logits: value at 0, the
// slope below the first knot, and how the slope changes at each knot.
type calibration struct {
	Offset float64   `json:"offset"`
	Slope  float64   `json:"slope"`
	Knots  []float64 `json:"knots"`
	Bends  []float64 `json:"bends"`
}

// at returns the calibrated logit and the slope there.
func (c *calibration) at(z float64) (y, slope float64) {
	y, slope = c.Offset+c.Slope*z, c.Slope
	for i, k := range c.Knots {
		if z > k {
			y += c.Bends[i] * (z - k)
			slope += c.Bends[i]
		}
	}
	return y, slope
}

// rising reports whether the map never falls.
func (c *calibration) rising() bool {
	s := c.Slope
	ok := s > 0
	for _, b := range c.Bends {
		s += b
		ok = ok && s > 0
	}
	return ok
}

// interval90 is how many standard deviations a 90 % interval reaches.
const interval90 = 1.6448536269514722

// linearScore is the outcome of one evaluation: raw and calibrated logits and
// the probabilities (0 to 1).
type linearScore struct {
	raw, logit     float64
	day, week      float64
	month, lo, hi  float64
	slope, spreads float64
}

// share of the trees in the logit; the rest is the linear model's.
const treeShare = 0.5

// inputs are the features of one component at one time, and room for what
// explains them.
type inputs struct {
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
	treeRow(s, t, m.rate, in.dense)
	in.shift = m.fleet[""]
	if s.model != "" {
		in.shift += m.fleet[s.model]
	}
}

func dot(w []float64, v *vector) float64 {
	s := w[len(w)-1]
	for k, i := range v.index {
		s += w[i] * v.value[k]
	}
	return s
}

func (m *ataModel) score(in *inputs) linearScore {
	var s linearScore
	v := &in.sparse
	s.raw = (1-treeShare)*dot(m.month, v) + treeShare*m.forest.score(in.dense)
	s.logit, s.slope = m.cal.at(s.raw)
	s.logit += in.shift
	s.spreads = math.Sqrt(max(0, m.variance(v))*s.slope*s.slope + m.drift*m.drift)
	s.month = sigmoid(s.logit)
	s.lo, s.hi = sigmoid(s.logit-interval90*s.spreads), sigmoid(s.logit+interval90*s.spreads)
	s.week = s.month * sigmoid(dot(m.week, v))
	s.day = s.week * sigmoid(dot(m.day, v))
	return s
}

// variance is that of the raw logit, from the weights' covariance.
func (m *ataModel) variance(v *vector) float64 {
	n := m.cov.n - 1
	sum := *m.cov.at(n, n)
	for a, i := range v.index {
		x := v.value[a]
		sum += x * (2**m.cov.at(n, int(i)) + x**m.cov.at(int(i), int(i)))
		for b, j := range v.index[:a] {
			sum += 2 * x * v.value[b] * *m.cov.at(int(i), int(j))
		}
	}
	return sum
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
	c := contributions{baseline: (1-treeShare)*m.month[len(m.month)-1] + treeShare*m.mean}
	for k, i := range in.sparse.index {
		c.add(m.schema.group[i], (1-treeShare)*m.month[i]*in.sparse.value[k])
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
	base, _ := m.cal.at(c.baseline)
	base += in.shift
	reasons := []Reason{{Part: PartBaseline, Contribution: c.baseline + in.shift, Text: baselineWords(s, 100*sigmoid(base))}}
	if c.several != 0 {
		reasons = append(reasons, Reason{Part: PartCombination, Contribution: c.several, Text: severalWords(c.several)})
	}
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
	slices.SortStableFunc(reasons, func(a, b Reason) int {
		return cmp.Compare(math.Abs(b.Contribution), math.Abs(a.Contribution))
	})
	return reasons
}
