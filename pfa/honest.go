package pfa

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/leak"
)

// Accepted is a rule that a training broke and its operator accepted.
type Accepted struct {
	Rule   leak.Rule `json:"rule"`
	Reason string    `json:"reason"` // the operator's
	Found  string    `json:"found"`  // what broke it
}

// Refused says why a training was not begun: it would have made a model that
// looks better than it is.
type Refused struct{ Findings []leak.Finding }

func (r *Refused) Error() string {
	lines := []string{"training refused, because its evaluation would flatter the model:"}
	for _, f := range r.Findings {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n  ")
}

// Accept is what an operator accepts of what the rules find, with the reason.
type Accept map[leak.Rule]string

// Parse reads one RULE=REASON.
func (a Accept) Parse(text string) error {
	name, reason, _ := strings.Cut(text, "=")
	reason = strings.TrimSpace(reason)
	var names []string
	for _, r := range leak.Rules {
		if !r.MayCarry {
			continue
		}
		names = append(names, string(r.Rule))
		if string(r.Rule) == name && reason != "" {
			a[r.Rule] = reason
			return nil
		}
	}
	return fmt.Errorf("--accept %q: expected RULE=REASON, with one of the rules that may be accepted: %s", text, strings.Join(names, ", "))
}

// settle separates what is accepted from what refuses the training.
func (a Accept) settle(found []leak.Finding) ([]Accepted, error) {
	var accepted []Accepted
	var refused []leak.Finding
	for _, f := range found {
		if reason, ok := a[f.Rule]; ok {
			accepted = append(accepted, Accepted{f.Rule, reason, f.Text})
			continue
		}
		for _, r := range leak.Rules {
			if r.Rule == f.Rule && r.MayCarry {
				f.Text += fmt.Sprintf(" (--accept %s=REASON, which the model carries, goes on)", f.Rule)
			}
		}
		refused = append(refused, f)
	}
	if refused != nil {
		return nil, &Refused{refused}
	}
	return accepted, nil
}

// How a history is looked at before a model is trained on it.
const (
	probeEvery   Axis = 28 * 24 // hours between a drive's landmarks
	shuffleTrees      = 20
	shuffleRows       = 60000 // landmarks learnt from with shuffled labels
	leastFailing      = 20    // positives of a validation that can tell anything
	leastLearnt       = 30    // failing drives to learn from: the calibration of an evaluated model fits to half of them at a time
)

// honest checks the history that a training learns from: its readings, its
// split, what its dates and order tell, and what shuffled labels do. The
// features are this package's own, made from one drive's readings up to the
// landmark; tests hold them to that.
func (in *Training) honest(drives []Drive) ([]Accepted, error) {
	if in.EvaluateFrom.IsZero() {
		return nil, errors.New("no day from which to evaluate")
	}
	learn, judge, table, err := in.splitTable(drives)
	if err != nil {
		return nil, err
	}
	if err := in.enough(drives, judge); err != nil {
		return nil, err
	}
	found := afterTheEnd(drives)
	found = append(found, leak.Probes(probeTable(in.Drives))...)
	found = append(found, leak.Split(table)...)
	n := learn.rows.len()
	all := join(learn, judge)
	bins := bin(all.dense)
	use := make([]int32, n)
	for i := range use {
		use[i] = int32(i)
	}
	how := boosting{trees: shuffleTrees, depth: 4, rate: 0.1, lambda: 5, minCover: 1, monotone: make([]int8, len(treeColumns)), keepRows: 1, keepCols: 1}
	shuffled, err := leak.Shuffle(table, 1, func(labels []bool) ([]float64, error) {
		_, z := boost(bins, labels, all.rows.weight, use, how)
		return z[n:], nil
	})
	if err != nil {
		return nil, err
	}
	return in.Accept.settle(append(found, shuffled...))
}

// afterTheEnd finds drives with readings after they were last seen: they were
// made when the outcome was known.
func afterTheEnd(drives []Drive) []leak.Finding {
	count, example := 0, ""
	for i := range drives {
		d := &drives[i]
		if n := len(d.Segments); n > 0 && d.Segments[n-1].Start > d.HoursLast {
			if count++; count == 1 {
				example = fmt.Sprintf("%s was last seen at %d power-on hours and has a reading of hour %d", d.Serial, d.HoursLast, d.Segments[n-1].Start)
			}
		}
	}
	if count == 0 {
		return nil
	}
	return []leak.Finding{{Rule: leak.Future, Text: fmt.Sprintf("%d drives have readings after their last hour: %s", count, example)}}
}

// probeTable is a history's landmarks in the order of its table of drives.
func probeTable(drives []Drive) *leak.Table {
	s := sampling{every: probeEvery, until: endOf(drives).AddDate(0, 0, -30)}
	t := &leak.Table{Horizon: time.Duration(hours30d) * time.Hour}
	for i := range drives {
		d := &drives[i]
		if !d.usable() {
			continue
		}
		for _, l := range s.landmarks(i, d) {
			t.Rows = append(t.Rows, leak.Row{Thing: d.Serial, At: d.day(l.hour), Label: l.within(hours30d), Weight: l.weight})
		}
	}
	return t
}

// enough says whether so many drives have failed that a model can be made of
// them, and that anything can be said of how good it is.
func (in *Training) enough(drives []Drive, judge *dataset) error {
	var all, learnt, later, positives int
	for i := range drives {
		switch d := &drives[i]; {
		case !d.Failed:
			continue
		case d.usable() && d.Last.Before(in.EvaluateFrom):
			learnt++
		case d.usable():
			later++
		}
		all++
	}
	for _, label := range judge.rows.label {
		positives += int(indicator(label))
	}
	if learnt >= leastLearnt && positives >= leastFailing {
		return nil
	}
	from := in.EvaluateFrom.Format(time.DateOnly)
	return fmt.Errorf("too few failures to train on: of %d drives %d failed; %d of them before %s, to learn from (expected at least %d), and %d from then on, "+
		"where a third of the drives has %d landmarks within 30 days of a failure to judge on (expected at least %d, which are about %d failures of all drives); an earlier day to evaluate from leaves more to judge on and less to learn from",
		len(drives), all, learnt, from, leastLearnt, later, positives, leastFailing, leastFailing/2*evaluateFolds)
}

// splitTable is the first fold of the evaluation: what it learns from and what
// it is judged on.
func (in *Training) splitTable(drives []Drive) (learn, judge *dataset, t *leak.Table, err error) {
	schema := newATASchema()
	usable := func(fold bool) func(*Drive) bool {
		return func(d *Drive) bool { return d.usable() && (foldOf(d, evaluateFolds) == 0) == fold }
	}
	first := sampling{known: in.EvaluateFrom, until: in.EvaluateFrom.AddDate(0, 0, -30), every: trainEvery, thin: trainThin, take: usable(false)}
	second := sampling{from: in.EvaluateFrom, until: endOf(drives).AddDate(0, 0, -30), every: evaluateEvery, take: usable(true)}
	learn, judge = first.sample(drives, schema), second.sample(drives, schema)
	learn.thinOut(drives, shuffleRows)
	if learn.rows.len() == 0 {
		return nil, nil, nil, fmt.Errorf("no landmark before %s whose next 30 days were known on that day", in.EvaluateFrom.Format(time.DateOnly))
	}
	t = &leak.Table{Horizon: time.Duration(hours30d) * time.Hour}
	for k, part := range []*dataset{learn, judge} {
		for i, l := range part.marks {
			d := &drives[l.drive]
			t.Rows = append(t.Rows, leak.Row{Thing: d.Serial, At: d.day(l.hour), Part: leak.Part(k) + leak.Training,
				Label: part.rows.label[i], Weight: float64(part.rows.weight[i])})
		}
	}
	return learn, judge, t, nil
}

// thinOut keeps about so many rows, by drive.
func (data *dataset) thinOut(drives []Drive, most int) {
	n := data.rows.len()
	if n <= most {
		return
	}
	share := float64(most) / float64(n)
	keep := func(i int) bool {
		return float64(spread(drives[data.marks[i].drive].Serial, foldSalt+1)) <= share*math.MaxUint64
	}
	out := &dataset{rows: data.rows.where(keep), dense: make([][]float32, len(data.dense))}
	for i, l := range data.marks {
		if keep(i) {
			out.marks = append(out.marks, l)
			for c := range data.dense {
				out.dense[c] = append(out.dense[c], data.dense[c][i])
			}
		}
	}
	*data = *out
}

func join(a, b *dataset) *dataset {
	out := &dataset{rows: newRows(a.rows.width), dense: make([][]float32, len(a.dense)), marks: slices.Concat(a.marks, b.marks)}
	out.rows.appendRows(a.rows)
	out.rows.appendRows(b.rows)
	for c := range out.dense {
		out.dense[c] = slices.Concat(a.dense[c], b.dense[c])
	}
	return out
}
