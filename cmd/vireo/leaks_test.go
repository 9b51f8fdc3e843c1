package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A leakingTable is a table of memory modules that breaks one rule. The files
// in testdata/leaks are made from these with -rewrite.
type leakingTable struct {
	name string // of the file
	rule string // "": nothing is wrong with it
	want string // what is said of it
	edit func(rows []leakRow, random *rand.Rand)
	also []string // more columns, filled from leakRow.also
}

type leakRow struct {
	serial, group, part string
	at                  time.Time
	observed            time.Duration // after at
	label               bool
	errors, rowsHit     int
	also                []string
}

var leakingTables = []leakingTable{
	{name: "clean"},
	{name: "time-order", rule: "time-order", want: "validation begins on 2024-05-30, at line ", edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			if r := &rows[i]; r.part == "training" {
				r.at = r.at.AddDate(1, 0, 0)
			}
		}
	}},
	{name: "both-sides", rule: "both-sides", want: "DIMM0007) is learnt from and line ", edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			if rows[i].part == "validation" {
				rows[i].serial = "DIMM0007"
				return
			}
		}
	}},
	{name: "embargo", rule: "embargo", want: "days between them, expected 7", edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			if rows[i].part == "training" {
				rows[i].at = rows[i].at.AddDate(0, 0, 29)
			}
		}
	}},
	{name: "identity-serial", rule: "identity", want: "feature asset is a part of the serial number", also: []string{"asset"}, edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			rows[i].also = []string{"7" + rows[i].serial[4:]}
		}
	}},
	{name: "identity-date", rule: "identity", want: "feature weeks is the date of the landmark", also: []string{"weeks"}, edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			rows[i].also = []string{fmt.Sprintf("%.2f", rows[i].at.Sub(leakStart).Hours()/168)}
		}
	}},
	{name: "identity-row", rule: "identity", want: "feature sample is the order of rows", also: []string{"sample"}, edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			rows[i].also = []string{fmt.Sprint(3 * i)}
		}
	}},
	{name: "identity-name", rule: "identity", want: "feature row_id is, by its name,", also: []string{"row_id"}, edit: func(rows []leakRow, random *rand.Rand) {
		for i := range rows {
			rows[i].also = []string{fmt.Sprint(random.IntN(9))}
		}
	}},
	{name: "future-reading", rule: "future", want: "3 rows rest on readings after their landmark, such as line 2 ", edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range 3 {
			rows[i*50].observed = time.Hour
		}
	}},
	{name: "future-outcome", rule: "future", want: "feature repairs alone has an AUC of 1.000", also: []string{"repairs"}, edit: func(rows []leakRow, _ *rand.Rand) {
		for i := range rows {
			rows[i].also = []string{map[bool]string{true: "2", false: "1"}[rows[i].label]}
		}
	}},
	{name: "shuffled-labels", rule: "shuffled-labels", want: "the two sides know each other", also: []string{"inlet_temperature"}, edit: func(rows []leakRow, random *rand.Rand) {
		// Modules of one server fail together, servers are on both sides, and one
		// feature is the server's.
		var warm [40]string
		var bad [40]bool
		for g := range warm {
			warm[g], bad[g] = fmt.Sprintf("%.2f", 18+9*random.Float64()), random.IntN(4) == 0
		}
		for i := range rows {
			g := random.IntN(len(warm))
			rows[i].group, rows[i].also, rows[i].label = fmt.Sprintf("S%02d", g), []string{warm[g]}, bad[g]
		}
	}},
	{name: "probe-time", rule: "probe-time", want: "the time of the landmark alone predicts", edit: func(rows []leakRow, random *rand.Rand) {
		for i := range rows {
			rows[i].label = rows[i].at.Day() < 12 && random.IntN(2) == 0
		}
	}},
	{name: "probe-row", rule: "probe-row", want: "the order of rows alone predicts", edit: func(rows []leakRow, _ *rand.Rand) {
		slices.SortStableFunc(rows, func(a, b leakRow) int {
			switch {
			case a.label == b.label:
				return 0
			case a.label:
				return -1
			}
			return 1
		})
	}},
}

var leakStart = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// table writes the file of a leakingTable: 400 rows to learn from, 300 to judge
// on, a month later.
func (l leakingTable) table() []byte {
	random := rand.New(rand.NewPCG(4, 2))
	rows := make([]leakRow, 700)
	for i := range rows {
		r := &rows[i]
		r.part, r.serial = "training", fmt.Sprintf("DIMM%04d", i)
		from, days := leakStart, 120
		if i >= 400 {
			r.part, from, days = "validation", leakStart.AddDate(0, 0, 150), 90
		}
		r.at = from.Add(time.Duration(random.IntN(days*24)) * time.Hour)
		r.label = random.IntN(4) == 0
		r.errors = random.IntN(6)
		if r.label {
			r.errors += random.IntN(5)
		}
		r.rowsHit = random.IntN(3)
	}
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	if l.edit != nil {
		l.edit(rows, random)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", strings.Join(append([]string{"serial_number,group,part,prediction_timestamp,observed_at,label,all_ce_count_6h,fault_row_num_6h"}, l.also...), ","))
	for _, r := range rows {
		fmt.Fprintf(&b, "%s\n", strings.Join(append([]string{r.serial, r.group, r.part, fmt.Sprint(r.at.Unix()), fmt.Sprint(r.at.Add(r.observed).Unix()),
			map[bool]string{true: "1", false: "0"}[r.label], fmt.Sprint(r.errors), fmt.Sprint(r.rowsHit)}, r.also...), ","))
	}
	return b.Bytes()
}

// TestTrainRefusesLeaks: each rule has a table that breaks it and nothing else;
// training on it ends with exit code 2, the rule's name, and no file.
func TestTrainRefusesLeaks(t *testing.T) {
	for _, l := range leakingTables {
		t.Run(l.name, func(t *testing.T) {
			path := filepath.Join("testdata", "leaks", l.name+".csv")
			if *rewrite {
				if err := os.WriteFile(path, l.table(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out := filepath.Join(t.TempDir(), "m.vpfa")
			text, code := runPFA(t, "train", "--kind", "memory", "--features", path, "--out", out)
			_, err := os.Stat(out)
			if l.rule == "" {
				if code != 0 || err != nil {
					t.Fatalf("exit %d, %v\n%s", code, err, text)
				}
				return
			}
			if code != 2 || strings.Count(text, "\n  rule ") != 1 || !strings.Contains(text, "rule "+l.rule+": ") || !strings.Contains(text, l.want) {
				t.Errorf("exit %d, want 2 with rule %s alone and %q:\n%s", code, l.rule, l.want, text)
			}
			if err == nil {
				t.Error("a model was written")
			}
		})
	}
}

// What is accepted is carried by the model and shown before anything else.
func TestAcceptedIsShownFirst(t *testing.T) {
	table := filepath.Join("testdata", "leaks", "probe-row.csv")
	out := filepath.Join(t.TempDir(), "m.vpfa")
	if text, code := runPFA(t, "train", "--kind", "memory", "--features", table, "--out", out, "--accept", "probe-row=sorted by label, and nobody reads the order"); code != 0 {
		t.Fatalf("exit %d\n%s", code, text)
	}
	text, code := runPFA(t, "model", "show", out)
	if code != 0 || !strings.HasPrefix(text, "> **Accepted in spite of rule probe-row:** sorted by label, and nobody reads the order.\n> Found: the order of rows alone") {
		t.Errorf("exit %d\n%s", code, text)
	}
	for _, wrong := range []string{"both-sides=I know", "probe-row=", "probe-row", "nonsense=x"} {
		if text, code := runPFA(t, "train", "--kind", "memory", "--features", table, "--out", out, "--accept", wrong); code != 2 || !strings.Contains(text, "expected RULE=REASON") {
			t.Errorf("--accept %q: exit %d\n%s", wrong, code, text)
		}
	}
}
