package leak

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// ProbeLimit is the AUC that a probe must not reach.
	ProbeLimit = 0.60
	probeBins  = 32
)

// Probes asks how well time stamps and the order of rows alone predict the
// label, on things not learnt from.
func Probes(t *Table) []Finding {
	var out []Finding
	for _, p := range []struct {
		rule Rule
		what string
		of   func(i int) float64
	}{
		{ProbeTime, "the time of the landmark", func(i int) float64 { return float64(t.Rows[i].At.Unix()) }},
		{ProbeRow, "the order of rows", func(i int) float64 { return float64(i) }},
	} {
		if auc := t.probe(p.of); auc >= ProbeLimit {
			out = append(out, found(p.rule, "%s alone predicts the label of unseen things with an AUC of %.3f (limit %.2f): "+
				"a model can learn the collection of the data instead of failures", p.what, auc, ProbeLimit))
		}
	}
	return out
}

// probe learns the label's rate by bins of x on one half of the units and
// judges it on the other, both ways.
func (t *Table) probe(x func(i int) float64) float64 {
	order := make([]int, len(t.Rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x(a), x(b)) })
	bin := make([]int, len(order))
	for k, i := range order {
		bin[i] = k * probeBins / len(order)
		if k > 0 && x(i) == x(order[k-1]) {
			bin[i] = bin[order[k-1]]
		}
	}
	const prior = 20 // landmarks of the average rate
	auc := 0.0
	for half := range uint64(2) {
		var all, failing [probeBins]float64
		var total, positives float64
		for i := range t.Rows {
			r := &t.Rows[i]
			if hash(r.unit())&1 == half {
				continue
			}
			all[bin[i]] += r.Weight
			total += r.Weight
			if r.Label {
				failing[bin[i]] += r.Weight
				positives += r.Weight
			}
		}
		var s []Scored
		for i := range t.Rows {
			if r := &t.Rows[i]; hash(r.unit())&1 == half {
				b := bin[i]
				s = append(s, Scored{(failing[b] + prior*positives/max(1, total)) / (all[b] + prior), r.Weight, r.Label})
			}
		}
		auc += AUC(s) / 2
	}
	return auc
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	x := h.Sum64() // its low bits are not enough alone
	return x ^ x>>33
}

const (
	shuffleLimit = 0.03
	leastShuffle = 8
	mostShuffle  = 40
	shuffleError = 0.010 // standard error of the mean to reach
)

// Fit learns from the rows of Training with the given labels, by row of the
// table, and returns a score for each row of Validation, in their order.
type Fit func(labels []bool) ([]float64, error)

// Shuffle learns from labels that mean nothing: each thing (or group) gets the
// outcome of another one. What still predicts them on the other side of the
// split knows who is who there.
func Shuffle(t *Table, seed uint64, fit Fit) ([]Finding, error) {
	shuffle := newShuffle(t)
	var judged []int
	for i := range t.Rows {
		if t.Rows[i].Part == Validation {
			judged = append(judged, i)
		}
	}
	random := rand.New(rand.NewPCG(seed, 1))
	var sum, squares, n float64
	for n < mostShuffle {
		labels := shuffle.labels(t, random)
		scores, err := fit(labels)
		if err != nil {
			return nil, err
		}
		s := make([]Scored, len(judged))
		for k, i := range judged {
			s[k] = Scored{scores[k], t.Rows[i].Weight, labels[i]}
		}
		auc := AUC(s)
		sum, squares, n = sum+auc, squares+auc*auc, n+1
		mean := sum / n
		if n >= leastShuffle && math.Sqrt(max(0, squares/n-mean*mean)/(n-1)) < shuffleError {
			break
		}
	}
	if mean := sum / n; math.Abs(mean-0.5) > shuffleLimit {
		return []Finding{found(Shuffled, "labels shuffled %.0f times still give a validation AUC of %.3f, expected 0.5 ± %.2f: "+
			"the two sides know each other", n, mean, shuffleLimit)}, nil
	}
	return nil, nil
}

// shuffled deals the outcomes of units to other units.
type shuffled struct {
	unit []int     // by row
	rate []float64 // by unit: the share of its rows that fail
}

func newShuffle(t *Table) *shuffled {
	s := &shuffled{unit: make([]int, len(t.Rows))}
	at := map[string]int{}
	var rows []float64
	for i := range t.Rows {
		name := t.Rows[i].unit()
		u, ok := at[name]
		if !ok {
			u = len(s.rate)
			at[name] = u
			s.rate, rows = append(s.rate, 0), append(rows, 0)
		}
		s.unit[i] = u
		rows[u]++
		if t.Rows[i].Label {
			s.rate[u]++
		}
	}
	for u := range s.rate {
		s.rate[u] /= rows[u]
	}
	return s
}

func (s *shuffled) labels(t *Table, random *rand.Rand) []bool {
	to := random.Perm(len(s.rate))
	out := make([]bool, len(t.Rows))
	for i := range out {
		out[i] = random.Float64() < s.rate[to[s.unit[i]]]
	}
	return out
}
