package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/vireo-kvm/vireo/pfa"
)

// scores are one predictor's probabilities of the marks; lo and hi are empty if
// it gives no interval.
type scores struct{ p, lo, hi []float64 }

// judged is everything that one day's comparison gathered.
type judged struct {
	marks  []mark
	by     map[string]*scores // vireo, xgboost, hgb, and the same with attributes hidden
	rules  map[string][]bool  // smartd, scrutiny
	timing map[string]float64
}

func (j *judged) add(o *judged) {
	j.marks = append(j.marks, o.marks...)
	if j.by == nil {
		j.by, j.rules, j.timing = map[string]*scores{}, map[string][]bool{}, map[string]float64{}
	}
	for name, s := range o.by {
		if j.by[name] == nil {
			j.by[name] = &scores{}
		}
		to := j.by[name]
		to.p, to.lo, to.hi = append(to.p, s.p...), append(to.lo, s.lo...), append(to.hi, s.hi...)
	}
	for name, r := range o.rules {
		j.rules[name] = append(j.rules[name], r...)
	}
	for name, t := range o.timing {
		j.timing[name] += t
	}
}

// grid lists the places of the marks that lie on the grid, in falling order of
// p.
func (j *judged) grid(p []float64) []int {
	var at []int
	for i, m := range j.marks {
		if !m.extra {
			at = append(at, i)
		}
	}
	slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(p[b], p[a]) })
	return at
}

// rank is the area under the ROC curve and the average precision; equal scores
// count as one step.
func (j *judged) rank(p []float64, only func(mark) bool) (auc, ap float64) {
	at := slices.DeleteFunc(j.grid(p), func(i int) bool { return only != nil && !only(j.marks[i]) })
	var pos, neg, tp, fp float64
	for _, i := range at {
		pos += number(j.marks[i].fails())
	}
	neg = float64(len(at)) - pos
	for k := 0; k < len(at); {
		var p1, n1 float64
		same := p[at[k]]
		for ; k < len(at) && p[at[k]] == same; k++ {
			p1 += number(j.marks[at[k]].fails())
		}
		n1 = float64(k) - tp - fp - p1
		auc += n1 * (tp + p1/2)
		tp, fp = tp+p1, fp+n1
		ap += p1 * tp / (tp + fp)
	}
	return auc / (pos * neg), ap / pos
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// recall is the share of failing drives above the threshold that 1 % of healthy
// drives ever exceed, at least 1 and 7 days ahead.
func (j *judged) recall(p []float64) (day, week float64) {
	type fate struct{ ever, day, week float64 }
	fates := map[*pfa.Drive]*fate{}
	for i, m := range j.marks {
		f := fates[m.drive]
		if f == nil {
			f = &fate{-1, -1, -1}
			fates[m.drive] = f
		}
		f.ever = max(f.ever, p[i])
		if m.lead >= 24 {
			f.day = max(f.day, p[i])
		}
		if m.lead >= 7*24 {
			f.week = max(f.week, p[i])
		}
	}
	var healthy []float64
	for d, f := range fates {
		if !d.Failed {
			healthy = append(healthy, f.ever)
		}
	}
	slices.Sort(healthy)
	above := healthy[len(healthy)-1-len(healthy)/100]
	failing := 0.0
	for d, f := range fates {
		if d.Failed {
			failing++
			day += number(f.day > above)
			week += number(f.week > above)
		}
	}
	return day / failing, week / failing
}

// against compares a rule with p at the rule's own number of false alarms; the
// precision of what flags nothing is NaN.
func (j *judged) against(rule []bool, p []float64) (precision, recall, own, ownRecall float64) {
	var tp, fp, pos float64
	at := j.grid(p)
	for _, i := range at {
		f := j.marks[i].fails()
		pos += number(f)
		tp += number(rule[i] && f)
		fp += number(rule[i] && !f)
	}
	var tp2, fp2 float64
	for _, i := range at {
		f := j.marks[i].fails()
		if !f && fp2+1 > fp {
			break
		}
		tp2 += number(f)
		fp2 += number(!f)
	}
	return tp / (tp + fp), tp / pos, tp2 / (tp2 + fp2), tp2 / pos
}

// edges of the calibration's bins, as probabilities.
var edges = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1}

// bin is what was observed and expected among marks of similar risk.
type bin struct{ rows, observed, expected, lo, hi float64 }

func (j *judged) bins(s *scores) []bin {
	out := make([]bin, len(edges))
	for i, m := range j.marks {
		if m.extra {
			continue
		}
		k, exact := slices.BinarySearch(edges, s.p[i])
		if exact && k < len(edges)-1 {
			k++
		}
		b := &out[k]
		b.rows++
		b.observed += number(m.fails())
		b.expected += s.p[i]
		if len(s.lo) > 0 {
			b.lo += s.lo[i]
			b.hi += s.hi[i]
		}
	}
	return out
}

// honest reports whether a bin is within 25 % of what was expected if it has
// 100 failures, or inside the 95 % Poisson limits.
func (b bin) honest() bool {
	if b.observed >= 100 {
		return math.Abs(b.observed/b.expected-1) <= 0.25
	}
	return poissonBelow(b.observed, b.expected) > 0.025 && poissonBelow(b.observed-1, b.expected) < 0.975
}

// poissonBelow is the probability of at most n events when so many are expected.
func poissonBelow(n, expected float64) float64 {
	sum, term := 0.0, math.Exp(-expected)
	for k := 0.0; k <= n; k++ {
		sum += term
		term *= expected / (k + 1)
	}
	return sum
}
