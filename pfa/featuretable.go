package pfa

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/leak"
)

// A table of features has one row per sample of a component and one column per
// feature. Columns with a meaning of their own, all others are features:
//
//	serial_number         the thing that fails
//	prediction_timestamp  the landmark, seconds since 1970
//	label                 1: it failed within the horizon after the landmark
//	part                  training or validation, for a split of one's own
//	observed_at           seconds since 1970 of the newest reading behind the row
//	group                 what shares its fate, such as its server
const (
	colSerial   = "serial_number"
	colLandmark = "prediction_timestamp"
	colLabel    = "label"
	colPart     = "part"
	colObserved = "observed_at"
	colGroup    = "group"
)

// maxFeatureColumns bounds a table's width.
const maxFeatureColumns = 4096

// FeatureTable is such a table, read.
type FeatureTable struct {
	Name     string
	names    []string             // of the features, in the file's order
	texts    []map[string]float64 // by feature: what its texts stand for; nil: numbers
	cols     [][]float32          // by feature; NaN: missing
	rows     []leak.Row           // empty when the table was read without labels
	n        int
	hasParts bool
}

// ReadFeatureTable reads a table of features; the columns that label and split
// it are read only when labelled is true.
func ReadFeatureTable(name string, r io.Reader, labelled bool) (*FeatureTable, error) {
	var need []string
	if labelled {
		need = []string{colSerial, colLandmark, colLabel}
	}
	t, err := newTable(name, r, need...)
	if err != nil {
		return nil, err
	}
	if len(t.col) > maxFeatureColumns {
		return nil, fmt.Errorf("%s: %d columns, expected at most %d", name, len(t.col), maxFeatureColumns)
	}
	out := &FeatureTable{Name: name}
	reserved := []string{colSerial, colLandmark, colLabel, colPart, colObserved, colGroup}
	for col := range t.col {
		if !slices.Contains(reserved, col) {
			out.names = append(out.names, col)
		}
	}
	slices.SortFunc(out.names, func(a, b string) int { return t.col[a] - t.col[b] })
	if len(out.names) == 0 {
		return nil, fmt.Errorf("%s: no column holds a feature", name)
	}
	_, out.hasParts = t.col[colPart]
	out.cols, out.texts = make([][]float32, len(out.names)), make([]map[string]float64, len(out.names))
	for {
		more, err := t.next()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if labelled {
			row, err := t.sample()
			if err != nil {
				return nil, err
			}
			out.rows = append(out.rows, row)
		}
		for c, col := range out.names {
			x, err := out.value(c, t.text(col))
			if err != nil {
				return nil, t.wrong(col, err.Error())
			}
			out.cols[c] = append(out.cols[c], x)
		}
		out.n++
	}
	if out.n == 0 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	out.sortTexts()
	return out, nil
}

// value is a field's number; texts are numbered as they come, for sortTexts to
// put in order.
func (f *FeatureTable) value(c int, text string) (float32, error) {
	if text == "" {
		return float32(math.NaN()), nil
	}
	if f.texts[c] == nil {
		x, err := strconv.ParseFloat(text, 64)
		switch {
		case err == nil && math.Abs(x) <= math.MaxFloat32:
			return float32(x), nil
		case err == nil || len(f.cols[c]) > 0 && slices.ContainsFunc(f.cols[c], func(x float32) bool { return x == x }):
			return 0, fmt.Errorf("a number")
		}
		f.texts[c] = map[string]float64{}
	}
	x, ok := f.texts[c][text]
	if !ok {
		x = float64(len(f.texts[c]))
		f.texts[c][strings.Clone(text)] = x
	}
	return float32(x), nil
}

// sortTexts numbers the texts of a column in their order, whatever order the
// rows have.
func (f *FeatureTable) sortTexts() {
	for c, texts := range f.texts {
		if texts == nil {
			continue
		}
		var words []string
		for w := range texts {
			words = append(words, w)
		}
		slices.Sort(words)
		to := make([]float32, len(words))
		for i, w := range words {
			to[int(texts[w])], texts[w] = float32(i), float64(i)
		}
		for i, x := range f.cols[c] {
			if x == x {
				f.cols[c][i] = to[int(x)]
			}
		}
	}
}

func (t *table) sample() (row leak.Row, err error) {
	if row.Thing = strings.Clone(t.text(colSerial)); row.Thing == "" {
		return row, t.wrong(colSerial, "a serial number")
	}
	row.Group, row.Weight, row.Line = strings.Clone(t.text(colGroup)), 1, t.line
	if row.At, err = t.second(colLandmark); err != nil {
		return row, err
	}
	if t.text(colObserved) != "" {
		if row.Observed, err = t.second(colObserved); err != nil {
			return row, err
		}
	}
	switch t.text(colLabel) {
	case "0", "0.0":
	case "1", "1.0":
		row.Label = true
	default:
		return row, t.wrong(colLabel, "0 or 1")
	}
	switch t.text(colPart) {
	case "training":
		row.Part = leak.Training
	case "validation":
		row.Part = leak.Validation
	case "":
	default:
		return row, t.wrong(colPart, "training or validation")
	}
	return row, nil
}

// second reads a required time in seconds since 1970.
func (t *table) second(col string) (time.Time, error) {
	s, err := strconv.ParseFloat(t.text(col), 64)
	if err != nil || !(s >= 0 && s < 1<<34) {
		return time.Time{}, t.wrong(col, "seconds since 1970")
	}
	return time.Unix(int64(s), 0).UTC(), nil
}

// split says which rows are learnt from and judged on: as the table says, else
// later things than were learnt from. A third of the things is judged, on rows
// from the day after which the last third of the failures lies; the others are
// learnt from, as long as their horizon ends before it.
func (f *FeatureTable) split(horizon time.Duration) error {
	if f.hasParts {
		for i := range f.rows {
			if f.rows[i].Part == leak.Unused {
				return fmt.Errorf("%s: line %d: %s is \"\", expected training or validation", f.Name, f.rows[i].Line, colPart)
			}
		}
		return nil
	}
	var failures []time.Time
	for i := range f.rows {
		if f.rows[i].Label {
			failures = append(failures, f.rows[i].At)
		}
	}
	if len(failures) < 3*leastFailing {
		return fmt.Errorf("%s: %d rows with label 1, expected at least %d", f.Name, len(failures), 3*leastFailing)
	}
	slices.SortFunc(failures, time.Time.Compare)
	from := failures[len(failures)*2/3]
	for i := range f.rows {
		r := &f.rows[i]
		judged := spread(r.Thing, foldSalt)%evaluateFolds == 0
		switch {
		case judged && !r.At.Before(from):
			r.Part = leak.Validation
		case !judged && r.At.Before(from.Add(-horizon)):
			r.Part = leak.Training
		}
	}
	return nil
}

// plan is the table as the rules against leaks look at it: the rows of the
// split, with their places in the table.
func (f *FeatureTable) plan(horizon time.Duration) *leak.Table {
	t := &leak.Table{Rows: f.rows, Horizon: horizon}
	for c, name := range f.names {
		col := leak.Column{Name: name, Values: make([]float64, f.n), Words: len(f.texts[c])}
		for i, x := range f.cols[c] {
			col.Values[i] = float64(x)
		}
		t.Columns = append(t.Columns, col)
	}
	return t
}

// use lists the rows of a part; of all when it is Unused.
func (f *FeatureTable) use(part leak.Part) []int32 {
	var out []int32
	for i := range f.rows {
		if part == leak.Unused || f.rows[i].Part == part {
			out = append(out, int32(i))
		}
	}
	return out
}

// Rows is how many rows the table has.
func (f *FeatureTable) Rows() int { return f.n }
