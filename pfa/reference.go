package pfa

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Reference is how one feature was distributed in training: the share of
// landmarks where it was missing, and in each bin between the cuts.
type Reference struct {
	Name    string    `json:"name"`
	Missing float64   `json:"missing"`
	Cuts    []float64 `json:"cuts"`   // rising; bin i holds values from cut i-1 (included) to cut i
	Shares  []float64 `json:"shares"` // one more than cuts
}

// referenceCuts is into how many parts a feature's values are cut at most.
const referenceCuts = 8

// references sums up a dataset's features, as they were before any were hidden.
func (data *dataset) references() []Reference {
	var out []Reference
	for c, f := range treeColumns {
		type pair struct{ value, weight float64 }
		var known []pair
		var missing, all float64
		for i, x := range data.dense[c] {
			if data.hidden[i] {
				continue
			}
			w := float64(data.rows.weight[i])
			all += w
			if x == x {
				known = append(known, pair{float64(x), w})
			} else {
				missing += w
			}
		}
		slices.SortStableFunc(known, func(a, b pair) int { return cmp.Compare(a.value, b.value) })
		r := Reference{Name: f.Name, Missing: missing / max(all, 1)}
		seen := 0.0
		for i, p := range known {
			if share := seen / max(all-missing, 1); i > 0 && p.value > known[i-1].value && share >= float64(len(r.Cuts)+1)/referenceCuts && len(r.Cuts) < referenceCuts-1 {
				r.Cuts = append(r.Cuts, p.value)
			} else if i > 0 && p.value > known[i-1].value && len(r.Cuts) == 0 && known[0].value == known[i-1].value {
				r.Cuts = append(r.Cuts, p.value) // one value is most of them, mostly zero: the rest is a bin of its own
			}
			seen += p.weight
		}
		r.Shares = make([]float64, len(r.Cuts)+1)
		for _, p := range known {
			r.Shares[r.bin(p.value)] += p.weight / max(all, 1)
		}
		out = append(out, r)
	}
	return out
}

func (r *Reference) bin(x float64) int {
	i, exact := slices.BinarySearch(r.Cuts, x)
	if exact {
		i++
	}
	return i
}

// sound reports whether a reference that was read is one.
func (r *Reference) sound() bool {
	if len(r.Cuts) > referenceCuts || len(r.Shares) != len(r.Cuts)+1 || !slices.IsSorted(r.Cuts) || !(r.Missing >= 0 && r.Missing <= 1) {
		return false
	}
	return !slices.ContainsFunc(r.Shares, func(x float64) bool { return !(x >= 0 && x <= 1+1e-9) })
}

// Drift compares a fleet with what a model was trained on.
type Drift struct {
	model  *Model
	drives int
	marks  int
	miss   []int
	counts [][]int
	scores []int
}

// DriftLine is one feature's, or the score's.
type DriftLine struct {
	Name     string  `json:"name"`
	PSI      float64 `json:"psi"`   // population stability index: 0 is the same, above 0.25 another population
	Limit    float64 `json:"limit"` // what it may be, with so few drives
	Missing  float64 `json:"missing"`
	Trained  float64 `json:"missing_in_training"`
	Drifted  bool    `json:"drifted"`
	Observed string  `json:"observed"` // where most of the difference lies, in words
}

// DriftReport is what a Drift found.
type DriftReport struct {
	Drives    int         `json:"drives"`
	Landmarks int         `json:"landmarks"`
	Score     DriftLine   `json:"score"`
	Features  []DriftLine `json:"features"` // most drifted first; none if the model has no reference
}

// NewDrift begins a comparison.
func (m *Model) NewDrift() *Drift {
	d := &Drift{model: m, miss: make([]int, len(treeColumns)), counts: make([][]int, len(treeColumns)), scores: make([]int, len(binEdges))}
	for i, r := range m.header.Reference {
		d.counts[i] = make([]int, len(r.Shares))
	}
	return d
}

// Add looks at one component's readings, oldest first, every 14 days. It leaves
// out what the trained model does not score.
func (d *Drift) Add(component string, readings []signal.Reading) {
	s := NewState(component)
	in := newInputs()
	var next time.Time
	looked := false
	for i, r := range readings {
		if next.IsZero() {
			next = r.ObservedAt.Add(time.Duration(evaluateEvery) * time.Hour)
		}
		s.Observe(r)
		if i+1 < len(readings) && readings[i+1].ObservedAt.Before(next) {
			continue
		}
		next = r.ObservedAt.Add(time.Duration(evaluateEvery) * time.Hour)
		if _, trained := s.scoredBy(); !trained {
			continue
		}
		looked = true
		d.marks++
		t := s.axisAt(r.ObservedAt)
		d.model.ata.extract(s, t, in)
		d.scores[riskBin(d.model.ata.score(in).month)]++
		for c := range d.model.header.Reference {
			if x := in.dense[c]; x == x {
				d.counts[c][d.model.header.Reference[c].bin(x)]++
			} else {
				d.miss[c]++
			}
		}
	}
	if looked {
		d.drives++
	}
}

func riskBin(p float64) int {
	i, exact := slices.BinarySearch(binEdges, p)
	if exact && i < len(binEdges)-1 {
		i++
	}
	return min(i, len(binEdges)-1)
}

// Report compares.
func (d *Drift) Report() DriftReport {
	out := DriftReport{Drives: d.drives, Landmarks: d.marks}
	var expected []float64
	total := 0
	for _, b := range d.model.header.Evaluation.Bins {
		total += b.Rows
	}
	for _, b := range d.model.header.Evaluation.Bins {
		expected = append(expected, float64(b.Rows)/float64(max(1, total)))
	}
	if len(expected) == len(d.scores) {
		out.Score = d.line("30-day risk", expected, d.scores, 0, 0, func(i int) string {
			if i == 0 {
				return "risks below " + Percent(100*binEdges[0])
			}
			return "risks from " + Percent(100*binEdges[i-1]) + " to " + Percent(100*binEdges[i])
		})
	}
	for c, r := range d.model.header.Reference {
		out.Features = append(out.Features, d.line(r.Name, r.Shares, d.counts[c], r.Missing, d.miss[c], func(i int) string {
			switch {
			case len(r.Cuts) == 0:
				return "any value"
			case i == 0:
				return "values below " + digits(r.Cuts[0])
			case i == len(r.Cuts):
				return "values from " + digits(r.Cuts[i-1])
			}
			return "values from " + digits(r.Cuts[i-1]) + " to " + digits(r.Cuts[i])
		}))
	}
	slices.SortStableFunc(out.Features, func(a, b DriftLine) int { return cmp.Compare(b.PSI-b.Limit, a.PSI-a.Limit) })
	return out
}

// line is the population stability index of observed counts, with missing as a
// bin of its own. Every bin counts with half a landmark more, so that an empty
// one is no infinity.
func (d *Drift) line(name string, expected []float64, counts []int, missing float64, miss int, words func(int) string) DriftLine {
	out := DriftLine{Name: name, Trained: missing, Missing: float64(miss) / float64(max(1, d.marks))}
	bins := len(expected) + 1
	all := float64(d.marks) + 0.5*float64(bins)
	worst := 0.0
	add := func(share float64, n int, where string) {
		e := (share*all + 0.5) / (all + 0.5*float64(bins))
		o := (float64(n) + 0.5) / all
		part := (o - e) * math.Log(o/e)
		if out.PSI += part; part > worst {
			worst = part
			out.Observed = where + ": " + Percent(100*o) + " here, " + Percent(100*e) + " in training"
		}
	}
	for i, share := range expected {
		add(share, counts[i], words(i))
	}
	add(missing, miss, "not reported")
	out.Limit = 0.25 + 2*float64(bins-1)/float64(max(1, d.drives))
	out.Drifted = out.PSI > out.Limit
	return out
}
