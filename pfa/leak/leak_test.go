package leak

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func TestAUC(t *testing.T) {
	for _, test := range []struct {
		scores []Scored
		want   float64
	}{
		{nil, 0.5},
		{[]Scored{{1, 1, true}}, 0.5},
		{[]Scored{{2, 1, true}, {1, 1, false}}, 1},
		{[]Scored{{1, 1, true}, {1, 1, false}}, 0.5},
		{[]Scored{{3, 1, true}, {2, 1, false}, {1, 1, true}, {1, 3, false}}, (1 + 3 + 1.5) / 8},
	} {
		if got := AUC(test.scores); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%v: %g, want %g", test.scores, got, test.want)
		}
	}
}

func TestRankCorrelation(t *testing.T) {
	n := 100
	up, down, flat, missing := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		x := float64(i)
		up[i], down[i], missing[i] = x*x, -math.Exp(x/50), math.NaN()
	}
	for _, test := range []struct {
		name string
		b    []float64
		want float64
	}{{"itself", up, 1}, {"falling", down, -1}, {"flat", flat, 0}, {"never known", missing, 0}} {
		if got := rankCorrelation(up, test.b); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: %g, want %g", test.name, got, test.want)
		}
	}
}

// Quantities of real tables are not taken for identities, and identities are
// found under their usual names.
func TestNames(t *testing.T) {
	for _, name := range []string{"fault_row_num_6h", "fault_mode_row_15m", "log_happen_frequency_1h", "smart_5_raw", "age", "capacity_bytes", "idle_time", "uptime_hours"} {
		if identityName.MatchString(name) || futureName.MatchString(name) {
			t.Errorf("%s is taken for something else", name)
		}
	}
	for _, name := range []string{"serial", "Serial_Number", "date", "failure_date_", "row", "Unnamed: 0", "index", "drive_id", "timestamp", "days_to_failure", "failed_on", "label2"} {
		if !identityName.MatchString(name) && !futureName.MatchString(name) {
			t.Errorf("%s is not recognised", name)
		}
	}
}

// Honest rows break nothing, however they are dealt.
func TestNothingIsFoundInNoise(t *testing.T) {
	table := &Table{Horizon: 24 * time.Hour}
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	x := uint64(1)
	next := func(n uint64) uint64 { x = x*6364136223846793005 + 1442695040888963407; return x >> 33 % n }
	col := Column{Name: "errors"}
	for i := range 4000 {
		r := Row{Thing: fmt.Sprint("T", i), At: start.Add(time.Duration(next(1000)) * time.Hour), Part: Training, Weight: 1, Label: next(10) == 0}
		if i%2 == 0 {
			r.Part, r.At = Validation, r.At.AddDate(0, 3, 0)
		}
		table.Rows = append(table.Rows, r)
		col.Values = append(col.Values, float64(next(5)))
	}
	table.Columns = []Column{col}
	found := append(append(Split(table), Features(table)...), Probes(table)...)
	shuffled, err := Shuffle(table, 1, func([]bool) ([]float64, error) {
		out := make([]float64, 2000)
		for i := range out {
			out[i] = float64(next(100))
		}
		return out, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(found, shuffled...) {
		t.Error(f)
	}
}
