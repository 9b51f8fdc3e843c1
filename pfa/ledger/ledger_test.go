package ledger

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func day(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// said makes predictions from pairs of day and percent.
func said(pairs ...float64) (out []Prediction) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Prediction{At: day(int(pairs[i])), Percent: pairs[i+1], Reason: "because"})
	}
	return out
}

func TestJudge(t *testing.T) {
	mark := func(n int, o Outcome) Mark { return Mark{Component: "disk:A", Outcome: o, At: day(n)} }
	for _, test := range []struct {
		name  string
		said  []Prediction
		seen  int
		marks []Mark
		want  []Verdict
		lead  int // days, of the first hit
	}{
		{"quiet", said(0, 0.1), 300, nil, nil, 0},
		{"hit", said(0, 0.1, 50, 30), 60, []Mark{mark(61, Failed)}, []Verdict{Hit}, 11},
		{"missed", said(0, 0.1), 60, []Mark{mark(61, Failed)}, []Verdict{Missed}, 0},
		{"lived on", said(0, 0.1, 50, 30, 60, 0.2), 300, nil, []Verdict{FalseAlarm}, 0},
		{"warned long before, then failed unseen", said(0, 30, 10, 0.1), 200, []Mark{mark(201, Failed)}, []Verdict{FalseAlarm, Missed}, 0},
		{"a warning that stands is one until the end", said(0, 30), 200, []Mark{mark(201, Failed)}, []Verdict{Hit}, 201},
		{"taken out in time", said(0, 0.1, 50, 30), 60, []Mark{mark(60, Replaced)}, []Verdict{Mitigated}, 0},
		{"looked at, nothing wrong", said(0, 30), 60, []Mark{mark(60, Healthy)}, []Verdict{FalseAlarm}, 0},
		{"silent since it warned", said(0, 30), 10, nil, []Verdict{Mitigated}, 0},
		{"warns now", said(0, 0.1, 290, 30), 300, nil, []Verdict{Open}, 0},
		{"taken out without a warning", said(0, 0.1), 60, []Mark{mark(60, Replaced)}, nil, 0},
		{"the last word counts", said(0, 30), 60, []Mark{mark(60, Failed), mark(60, Healthy)}, []Verdict{FalseAlarm}, 0},
		{"two warnings", said(0, 30, 5, 0.1, 100, 40), 104, []Mark{mark(105, Failed)}, []Verdict{FalseAlarm, Hit}, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Judge([]Component{{Host: "h1", Component: "disk:A", Said: test.said, Seen: day(test.seen)}}, test.marks, 25, day(300))
			var verdicts []Verdict
			for _, e := range got {
				verdicts = append(verdicts, e.Verdict)
				if e.Verdict == Hit && e.Lead != time.Duration(test.lead)*24*time.Hour {
					t.Errorf("lead %v, want %d days", e.Lead, test.lead)
				}
			}
			if !slices.Equal(verdicts, test.want) {
				t.Errorf("%v, want %v: %+v", verdicts, test.want, got)
			}
		})
	}
}

func TestWindowsAndChecks(t *testing.T) {
	var all []Component
	var marks []Mark
	for i := range 100 {
		c := Component{Component: "disk:" + strings.Repeat("x", i+1), Family: "F", Said: said(0, 1), Seen: day(95)}
		if i < 12 { // expected: 3 windows of 1 % each, 100 drives
			c.Seen = day(40)
			marks = append(marks, Mark{Component: c.Component, Outcome: Failed, At: day(40)})
		}
		all = append(all, c)
	}
	windows, unknown := Windows(all, marks, day(95))
	if len(windows) != 88*3+12*2 || unknown != 88 {
		t.Fatalf("%d windows, %d unknown", len(windows), unknown)
	}
	checks := Checks(windows)
	if len(checks) != 2 || checks[0].Observed != 12 || math.Abs(checks[0].Expected-2.88) > 1e-9 || checks[0].InBounds || checks[0].Lo < 2 {
		t.Fatalf("%+v", checks)
	}
	if want := math.Log(22 / 12.88); math.Abs(checks[0].Shift-want) > 1e-9 {
		t.Errorf("shift %g, want %g", checks[0].Shift, want)
	}
	if rest := checks[1].Shift; rest <= 0 || rest > checks[0].Shift {
		t.Errorf("the only family is shifted by another %g", rest)
	}
}

func TestPoisson90(t *testing.T) {
	for n, want := range map[int][2]float64{0: {0, 2.996}, 1: {0.051, 4.744}, 10: {5.425, 16.962}, 500: {463.8, 538.4}} {
		lo, hi := poisson90(n)
		if math.Abs(lo-want[0]) > 0.1 || math.Abs(hi-want[1]) > 0.5 {
			t.Errorf("%d: %g … %g, want %v", n, lo, hi, want)
		}
	}
}

func TestRead(t *testing.T) {
	m := Mark{Component: "disk:A", Outcome: Failed, At: day(3), Marked: day(4), Who: "ops", Note: "clicks"}
	line, err := m.Line()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read("ledger", bytes.NewReader(append(line, line[:20]...))) // the second was cut by a crash
	if err != nil || len(got) != 1 || got[0] != m {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"x\n": "ledger: line 1:",
		string(line) + `{"component":"disk:A","outcome":"gone","at":"2026-01-01T00:00:00Z","marked":"2026-01-02T00:00:00Z"}` + "\n": `line 2: outcome is "gone", expected`,
		`{"component":"A","outcome":"failed","at":"2026-01-01T00:00:00Z"}` + "\n":                                                   `component is "A", expected KIND:NAME`,
		`{"component":"disk:A","outcome":"failed"}` + "\n":                                                                          "at is missing",
		`{"component":"disk:A","outcome":"failed","when":1}` + "\n":                                                                 "when",
	} {
		if _, err := Read("ledger", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"component":"disk:A","outcome":"failed","at":"2026-01-01T00:00:00Z"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		marks, err := Read("f", bytes.NewReader(b))
		if err != nil {
			return
		}
		Judge([]Component{{Component: "disk:A", Said: said(0, 30), Seen: day(9)}}, marks, 25, day(300))
	})
}
