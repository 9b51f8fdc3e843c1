package pfa

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// calibration is a rising piecewise-linear map between logits: value at 0, the
// slope below the first knot, and how the slope changes at each knot; and
// between which probabilities the truth lies.
type calibration struct {
	Offset float64   `json:"offset"`
	Slope  float64   `json:"slope"`
	Knots  []float64 `json:"knots"`
	Bends  []float64 `json:"bends"`
	Abers  abers     `json:"venn_abers"`
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

// bendPenalty is the ridge on the bends of the calibration.
const bendPenalty = 5

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
		w, err := fitLogistic(r, penalty)
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

// calibrateShown calibrates on the landmarks that lost no attributes.
func calibrateShown(z []float64, data *dataset) (calibration, error) {
	part := data.rows.where(func(i int) bool { return !data.hidden[i] })
	shown := make([]float64, 0, part.len())
	for i, x := range z {
		if !data.hidden[i] {
			shown = append(shown, x)
		}
	}
	c, err := calibrate(shown, part)
	if err == nil {
		c.Abers = vennAbers(shown, part, float64(hours30d)/float64(trainEvery))
	}
	return c, err
}

// abers is a Venn-Abers predictor of logits: up to Upto[i] the rate lies between
// Lo[i] and Hi[i], all of them logits. Lo and Hi are what isotonic regression
// says if one more drive of that score stays healthy, and if it fails.
type abers struct {
	Upto []float64 `json:"upto"`
	Lo   []float64 `json:"lo"`
	Hi   []float64 `json:"hi"`
}

// at returns the ends of the interval at a raw logit.
func (a *abers) at(z float64) (lo, hi float64) {
	if len(a.Upto) == 0 {
		return math.Inf(1), math.Inf(-1) // no interval of its own
	}
	i, _ := slices.BinarySearch(a.Upto, z)
	i = min(i, len(a.Upto)-1)
	return a.Lo[i], a.Hi[i]
}

// sound reports whether what was read is a predictor.
func (a *abers) sound() bool {
	n := len(a.Upto)
	if len(a.Lo) != n || len(a.Hi) != n || n > 2*abersBins {
		return false
	}
	for i := range n {
		if !(math.Abs(a.Upto[i]) <= maxWeight && math.Abs(a.Lo[i]) <= maxWeight && math.Abs(a.Hi[i]) <= maxWeight && a.Lo[i] <= a.Hi[i]) {
			return false
		}
	}
	return slices.IsSorted(a.Upto) && slices.IsSorted(a.Lo) && slices.IsSorted(a.Hi)
}

// abersBins is how many bins scores are sorted into, with equally many failures.
const abersBins = 100

// pool is a run of scores that isotonic regression gives the same rate.
type pool struct{ all, failing float64 }

// vennAbers looks at held-out logits. One drive weighs as many landmarks as it
// is seen from within a horizon.
func vennAbers(z []float64, data *rows, oneDrive float64) (out abers) {
	order := make([]int, len(z))
	total := 0.0
	for i := range order {
		order[i] = i
		total += float64(data.weight[i]) * indicator(data.label[i])
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(z[a], z[b]) })
	var bins []pool
	var now pool
	for k, i := range order {
		w := float64(data.weight[i])
		now.all += w
		now.failing += w * indicator(data.label[i])
		if last := k == len(order)-1; last || now.failing >= total/abersBins && z[order[k+1]] != z[i] {
			bins, out.Upto = append(bins, now), append(out.Upto, z[i])
			now = pool{}
		}
	}
	with := func(k int, failing float64) float64 {
		some := slices.Clone(bins)
		some[k].all += oneDrive
		some[k].failing += failing
		rate := isotonic(some)[k]
		return logit(min(max(rate, 1e-6), 1-1e-6))
	}
	for k := range bins {
		out.Lo, out.Hi = append(out.Lo, with(k, 0)), append(out.Hi, with(k, oneDrive))
	}
	// Rising by theory; rounding must not undo it.
	for k := 1; k < len(bins); k++ {
		out.Lo[k], out.Hi[k] = max(out.Lo[k], out.Lo[k-1]), max(out.Hi[k], out.Hi[k-1])
	}
	return out
}

// isotonic is the rising sequence of rates that fits the bins best (pool
// adjacent violators).
func isotonic(bins []pool) []float64 {
	type run struct {
		pool
		bins int
	}
	var runs []run
	for _, b := range bins {
		runs = append(runs, run{b, 1})
		for n := len(runs); n > 1 && runs[n-2].failing*runs[n-1].all >= runs[n-1].failing*runs[n-2].all; n-- {
			runs[n-2] = run{pool{runs[n-2].all + runs[n-1].all, runs[n-2].failing + runs[n-1].failing}, runs[n-2].bins + runs[n-1].bins}
			runs = runs[:n-1]
		}
	}
	out := make([]float64, 0, len(bins))
	for _, r := range runs {
		for range r.bins {
			out = append(out, r.failing/r.all)
		}
	}
	return out
}
