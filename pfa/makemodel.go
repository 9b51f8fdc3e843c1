package pfa

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Training says what a model is made from.
type Training struct {
	Name         string
	Grade        Grade
	Drives       []Drive // with their segments
	Sources      []Source
	Exclude      []string  // serial numbers never trained on
	EvaluateFrom time.Time // the day from which the evaluation's landmarks lie
	CompleteFrom time.Time // the day from which all attributes were recorded; zero: always
	Licence      string
	Accept       Accept            // what is accepted of what the rules against leaks find
	Progress     func(step string) // told before each step; nil: nobody
}

// Train makes a model, and evaluates the way it is made on drives and times
// the evaluated models have not seen. The same input gives the same model.
func Train(in Training) (*Model, error) {
	say := in.Progress
	if say == nil {
		say = func(string) {}
	}
	kept, err := in.drives()
	if err != nil {
		return nil, err
	}
	say("looking for leaks")
	accepted, err := in.honest(kept)
	if err != nil {
		return nil, err
	}
	say("evaluating on unseen drives from " + in.EvaluateFrom.Format(time.DateOnly) + " on")
	metrics, err := Evaluate(kept, in.EvaluateFrom, in.CompleteFrom)
	if err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	say("training on all")
	return in.fit(kept, metrics, splitWords(in.EvaluateFrom), accepted)
}

// Fit makes a model as Train does, without looking for leaks and without
// judging it: for comparisons that judge it themselves.
func Fit(in Training) (*Model, error) {
	kept, err := in.drives()
	if err != nil {
		return nil, err
	}
	return in.fit(kept, Metrics{}, "none: not judged", nil)
}

// drives are those to train on, in one order, whatever order the files had.
func (in *Training) drives() ([]Drive, error) {
	for _, d := range in.Drives {
		if d.HoursLast == 0 || d.Last.IsZero() {
			return nil, fmt.Errorf("drive %s has no fate: a labelled history is needed", d.Serial)
		}
	}
	kept := make([]Drive, 0, len(in.Drives))
	for _, d := range in.Drives {
		if !slices.Contains(in.Exclude, d.Serial) {
			kept = append(kept, d)
		}
	}
	if len(kept) == 0 {
		return nil, errors.New("no drive left to train on")
	}
	slices.SortFunc(kept, func(a, b Drive) int {
		if a.Serial < b.Serial {
			return -1
		}
		return 1
	})
	return kept, nil
}

func (in *Training) fit(kept []Drive, metrics Metrics, split string, accepted []Accepted) (*Model, error) {
	end := endOf(kept)
	ata, data, err := fitATA(kept, sampling{from: in.CompleteFrom, until: end.AddDate(0, 0, -30)})
	if err != nil {
		return nil, fmt.Errorf("training: %w", err)
	}
	// What the future did to the evaluated models it will do to this one.
	ata.drift = max(ata.drift, metrics.Drift)
	m := &Model{ata: ata, header: Header{Name: in.Name, Kind: kindEnsemble, Grade: in.Grade, Evaluation: metrics}}
	m.header.Provenance = Provenance{
		Sources: in.Sources, Until: end.Format(time.DateOnly), Landmarks: data.rows.len(),
		Split:    split,
		Excluded: slices.Sorted(slices.Values(in.Exclude)), Licence: in.Licence,
		Accepted: accepted,
	}
	m.header.Reference = data.references()
	seen := -1
	for _, l := range data.marks {
		if l.drive != seen {
			seen = l.drive
			m.header.Provenance.Drives++
			if kept[l.drive].Failed {
				m.header.Provenance.Failures++
			}
		}
	}
	if err := m.addGolden(data); err != nil {
		return nil, err
	}
	file, err := m.Bytes()
	if err != nil {
		return nil, err
	}
	return Load(file)
}

func splitWords(from time.Time) string {
	return fmt.Sprintf("evaluation: %d folds of drives by hash of the serial number, trained on landmarks up to 30 days before %s "+
		"with fates known on that day, judged on the other drives' landmarks after it; calibration: %d folds of drives",
		evaluateFolds, from.Format(time.DateOnly), trainFolds)
}

// addGolden picks rows from all over the data.
func (m *Model) addGolden(data *dataset) error {
	const count = 8
	n := data.rows.len()
	for g := range count {
		// Half of them from rows before a failure: the others are nearly empty.
		i := n * g / count
		for ; g%2 == 0 && i < n-1 && !data.rows.label[i]; i++ {
		}
		features := map[string]float64{}
		for k := data.rows.start[i]; k < data.rows.start[i+1]; k++ {
			if j := int(data.rows.index[k]); j < len(m.ata.schema.features) {
				features[m.ata.schema.features[j].Name] = float64(data.rows.value[k])
			}
		}
		tree := map[string]float64{}
		for j, f := range treeColumns {
			if x := float64(data.dense[j][i]); x == x {
				tree[f.Name] = x
			}
		}
		row, err := m.golden(features, tree)
		if err != nil {
			return err
		}
		m.header.Golden = append(m.header.Golden, row)
	}
	return nil
}
