package ledger

import (
	"math"
	"slices"
	"time"
)

// Window is one prediction with what came of it: windows of one component do
// not overlap, so that one failure counts once.
type Window struct {
	Component string
	Family    string
	At        time.Time
	P         float64 // of failing within 30 days, 0 to 1
	Failed    bool
}

// Windows cuts each component's predictions into windows of 30 days. A window
// that the component did not live to the end of, and did not fail in, is left
// out: nobody knows. So is one that is not over.
func Windows(all []Component, marks []Mark, now time.Time) (known []Window, unknown int) {
	byComponent := marksBy(marks)
	for i := range all {
		c := &all[i]
		if len(c.Said) == 0 {
			continue
		}
		list := byComponent[c.Component]
		next := 0
		for at := c.Said[0].At; !at.After(c.Seen); at = at.Add(Horizon) {
			for next+1 < len(c.Said) && !c.Said[next+1].At.After(at) {
				next++
			}
			w := Window{Component: c.Component, Family: c.Family, At: at, P: c.Said[next].Percent / 100}
			end := at.Add(Horizon)
			k := slices.IndexFunc(list, func(m Mark) bool { return m.At.After(at) && m.Outcome != Healthy })
			switch {
			case k >= 0 && !list[k].At.After(end) && list[k].Outcome == Failed:
				w.Failed = true
				known = append(known, w)
			case k >= 0 && !list[k].At.After(end), end.After(c.Seen), end.After(now):
				unknown++
			default:
				known = append(known, w)
			}
			if k >= 0 && !list[k].At.After(end) {
				break // its service is over
			}
		}
	}
	return known, unknown
}

// Check compares what was observed with what was expected.
type Check struct {
	Family   string  `json:"family"` // "": all
	Windows  int     `json:"windows"`
	Observed int     `json:"observed"`
	Expected float64 `json:"expected"`
	Lo       float64 `json:"lo"` // ends of the 90 % interval of observed / expected
	Hi       float64 `json:"hi"`
	InBounds bool    `json:"in_bounds"` // the interval holds 1
	Shift    float64 `json:"shift"`     // logits that would correct it, drawn towards none
}

// priorFailures is how many expected failures the belief that the model is
// right is worth.
const priorFailures = 10

// Checks compares all windows, and those of each family, sorted by family.
func Checks(windows []Window) []Check {
	by := map[string]*Check{"": {}}
	for _, w := range windows {
		if by[w.Family] == nil {
			by[w.Family] = &Check{Family: w.Family}
		}
		for _, c := range slices.Compact([]*Check{by[""], by[w.Family]}) {
			c.Windows++
			c.Expected += w.P
			if w.Failed {
				c.Observed++
			}
		}
	}
	var out []Check
	for _, c := range by {
		if c.Windows == 0 || c.Expected == 0 {
			continue
		}
		lo, hi := poisson90(c.Observed)
		c.Lo, c.Hi = lo/c.Expected, hi/c.Expected
		c.InBounds = c.Lo <= 1 && c.Hi >= 1
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Check) int {
		if a.Family < b.Family {
			return -1
		}
		return 1
	})
	for i := range out {
		c := &out[i]
		c.Shift = math.Log((float64(c.Observed) + priorFailures) / (c.Expected + priorFailures))
		if c.Family != "" { // beside what all share
			e := c.Expected * math.Exp(out[0].Shift)
			c.Shift = math.Log((float64(c.Observed) + priorFailures) / (e + priorFailures))
		}
	}
	return out
}

// poisson90 are the exact ends of the 90 % interval of a Poisson mean of which n
// were seen.
func poisson90(n int) (lo, hi float64) {
	if n > 0 {
		lo = solve(func(mean float64) bool { return 1-cumulative(n-1, mean) < 0.05 })
	}
	return lo, solve(func(mean float64) bool { return cumulative(n, mean) > 0.05 })
}

// solve finds where below stops to hold, from 0 up.
func solve(below func(float64) bool) float64 {
	hi := 1.0
	for below(hi) {
		hi *= 2
	}
	lo := 0.0
	for range 60 {
		if mid := (lo + hi) / 2; below(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// cumulative is the probability of at most n when mean are expected.
func cumulative(n int, mean float64) float64 {
	sum, term := 0.0, -mean // logarithm of the first term
	for k := range n + 1 {
		if k > 0 {
			term += math.Log(mean) - math.Log(float64(k))
		}
		sum += math.Exp(term)
	}
	return min(1, sum)
}
