package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runPFA runs `vireo pfa ARGS…` and returns what it printed and its exit code.
func runPFA(t *testing.T, args ...string) (string, int) {
	t.Helper()
	got := newRunner(t, fleet()).do(t.Context(), append([]string{"pfa"}, args...)...)
	return got.out + got.err, got.code
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// score runs `vireo pfa score` on the given tables.
func score(t *testing.T, drives, segments, landmarks string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "scores.csv")
	if text, code := runPFA(t, "score", "--drives", write(t, "d.csv", drives), "--segments", write(t, "s.csv", segments),
		"--landmarks", write(t, "l.csv", landmarks), "--out", out); code != 0 {
		t.Fatal(text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	drivesFull = `serial_number,model,manufacturer,size_tb,first_date,last_date,poh_first,poh_last,failed,n_segments,date_err_days
A,ST4000DM000,ST,4.0,2014-01-01,2014-09-29,100,6600,1,4,-0.1
B,HGST HMS5C4040ALE640,HGST,4.0,2014-01-01,2015-09-30,50,15000,0,1,0.0
`
	drivesBlank = `serial_number,model,manufacturer,size_tb,first_date,last_date,poh_first,poh_last,failed,n_segments,date_err_days
A,ST4000DM000,ST,4.0,2014-01-01,,100,,,,
B,HGST HMS5C4040ALE640,HGST,4.0,2014-01-01,,50,,,,
`
	segmentsFull = `serial_number,poh_start,poh_end,start_date,s5,s10,s12,s187,s188,s189,s196,s197,s198
A,100,2000,2014-01-01,0,0,3,0,0,1,,0,0
A,2000,2100,2014-03-20,0,0,3,2,0,1,,176,176
A,2100,6500,2014-03-24,8,0,3,9,0,1,,640,640
A,6500,6600,2014-09-20,900,0,3,99,0,1,,6400,6400
B,50,15000,2014-01-01,0,0,5,,,,0,0,0
`
	// The same as it was known at hour 2100: no ends, no later rows.
	segmentsCut = `serial_number,poh_start,poh_end,start_date,s5,s10,s12,s187,s188,s189,s196,s197,s198
A,100,,,0,0,3,0,0,1,,0,0
A,2000,,,0,0,3,2,0,1,,176,176
A,2100,,,8,0,3,9,0,1,,640,640
B,50,,,0,0,5,,,,0,0,0
`
	landmarksText = "serial_number,poh\nB,2100\nA,2100\nA,90\nA,1999\nA,2000\n"
)

func TestScoreUsesNothingLater(t *testing.T) {
	full := score(t, drivesFull, segmentsFull, landmarksText)
	if got := score(t, drivesBlank, segmentsFull, landmarksText); got != full {
		t.Errorf("with the fate's columns blank:\n%s\nwant\n%s", got, full)
	}
	if got := score(t, drivesFull, segmentsCut, landmarksText); got != full {
		t.Errorf("with later rows cut away:\n%s\nwant\n%s", got, full)
	}
	lines := strings.Split(strings.TrimSpace(full), "\n")
	if len(lines) != 6 || lines[0] != "serial_number,poh,p24h,p7d,p30d,lo30d,hi30d,grade,reason1,reason2,reason3" {
		t.Fatalf("scores:\n%s", full)
	}
	for i, want := range []string{"B,2100,", "A,2100,", "A,90,", "A,1999,", "A,2000,"} {
		if !strings.HasPrefix(lines[i+1], want) {
			t.Errorf("row %d is %s, want %s…", i+1, lines[i+1], want)
		}
	}
	if !strings.Contains(lines[2], ",C,pending sectors (197) 0 → 640 in 5 days (usual 0),") {
		t.Errorf("reasons of %s", lines[2])
	}
	if !strings.Contains(lines[3], ",D,ST4000DM000, 0.0 years old") && !strings.Contains(lines[3], `,D,"ST4000DM000, 0.0 years old`) {
		t.Errorf("before any reading: %s", lines[3])
	}
}

func TestScoreDaily(t *testing.T) {
	out := filepath.Join(t.TempDir(), "scores.csv")
	if text, code := runPFA(t, "score", "--daily", "../../test/testdata/drives/Z300V1RR.csv", "--out", out); code != 0 {
		t.Fatal(text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 320 || !strings.HasPrefix(lines[319], "2014-09-29,Z300V1RR,") {
		t.Errorf("%d lines, last %s", len(lines), lines[len(lines)-1])
	}
}

func TestExplain(t *testing.T) {
	text, code := runPFA(t, "explain", "--drive", "../../test/testdata/drives/Z300V1RR.csv", "--until", "-15")
	for _, want := range []string{"ST4000DM000", "2014-09-14", "fails within 30 days", "pending sectors (197) 0 → 640 in 4 days (usual 0)", "public failure histories"} {
		if code != 0 || !strings.Contains(text, want) {
			t.Errorf("exit %d, no %q in\n%s", code, want, text)
		}
	}
}

func TestBadInputIsSaid(t *testing.T) {
	damaged := write(t, "x.vpfa", "not a model")
	two := write(t, "two.csv", "date,serial_number,model,smart_5_raw\n2014-01-01,A,M,0\n2014-01-01,B,M,0\n")
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"neither table", []string{"score", "--out", "x"}, "expected either --segments, --drives and --landmarks or --daily"},
		{"half a history", []string{"score", "--out", "x", "--drives", two}, "--segments, --drives and --landmarks belong together"},
		{"unknown kind", []string{"score", "--out", "x", "--kind", "tape", "--daily", two}, "--kind tape"},
		{"damaged model", []string{"model", "show", damaged}, "not a vireo model file"},
		{"no such file", []string{"explain", "--drive", "/no/such.csv"}, "/no/such.csv"},
		{"two drives", []string{"explain", "--drive", two}, "expected one drive"},
		{"until the future", []string{"explain", "--drive", two, "--until", "3"}, "--until 3"},
		{"no history", []string{"train", "--data", t.TempDir(), "--out", "x"}, "hdd_history_drives"},
		{"not gzip", []string{"score", "--daily", write(t, "plain.csv.gz", "date,serial_number,model\n"), "--out", "x"}, "plain.csv.gz: expected a gzip file, as its name says"},
		{"an empty table", []string{"score", "--daily", write(t, "empty.csv", ""), "--out", "x"}, "empty.csv: first line: expected the names of columns"},
		{"no feature of memory", []string{"score", "--kind", "memory", "--features", two, "--out", "x"}, "two.csv: no column that the prior of memory modules knows: expected at least one of ce_storm_count"},
		{"a grade of its own", []string{"train", "--data", t.TempDir(), "--out", "x", "--grade", "S"}, "--grade S"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if text, code := runPFA(t, test.args...); code != 2 || !strings.Contains(text, test.want) {
				t.Errorf("exit %d, %q; want 2 with %q", code, text, test.want)
			}
		})
	}
}

func TestModelShow(t *testing.T) {
	text, code := runPFA(t, "model", "show")
	if code != 0 || !strings.Contains(text, "Never trained on:") || !strings.Contains(text, "Z300V1RR") {
		t.Errorf("exit %d\n%s", code, text)
	}
}
