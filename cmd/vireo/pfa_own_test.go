package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/ledger"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// failingFleet keeps what a manager would have kept of 360 drives over 500 days,
// read every fifth day, and returns the store and the marks of those that
// failed, all of which showed pending sectors before.
func failingFleet(t *testing.T) (path string, marks []ledger.Mark) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "vireo.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const days = 500
	random := rand.New(rand.NewPCG(3, 9))
	first := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	var batch []signal.Reading
	for i := range 360 {
		host, disk := fmt.Sprintf("h%02d", i/12), signal.DiskComponent(fmt.Sprintf("Z%04d", i*7919%9973))
		life, errors := days, days+1 // days until it fails, and until it shows errors
		if random.IntN(2) == 0 {
			life = 40 + random.IntN(days-40)
			errors = life - 25
			at := first.AddDate(0, 0, life+1)
			marks = append(marks, ledger.Mark{Component: disk, Host: host, Outcome: ledger.Failed, At: at, Marked: at})
		}
		told := func(day int, name, text string, value float64) {
			r := signal.Reading{Host: host, Component: disk, Signal: name, Text: text, ObservedAt: first.AddDate(0, 0, day), BootID: "b", Status: signal.OK}
			if text == "" {
				r.Value = &value
			}
			batch = append(batch, r)
		}
		told(0, signal.DriveModel, "ST4000DM000", 0)
		told(0, signal.DriveProtocol, "ATA", 0)
		for day := 0; day <= life; day += 5 {
			if i == 7 && day > 30 { // moved to another host, and still one drive
				host = "spare"
			}
			told(day, signal.SmartPowerOnHours, "", float64(1000+24*day))
			told(day, signal.SmartReallocatedSectors, "", 0)
			told(day, signal.SmartPendingSectors, "", float64(max(0, day-errors)))
		}
	}
	if _, err := db.Keep(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return path, marks
}

func writeMarks(t *testing.T, marks []ledger.Mark) string {
	t.Helper()
	var b bytes.Buffer
	for _, m := range marks {
		line, err := m.Line()
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
	}
	return write(t, "ledger.ndjson", b.String())
}

// An operator's own history becomes a model of grade A that scores; with too
// few failures it is said how many there are, and are needed.
func TestTrainOnOwnHistory(t *testing.T) {
	db, marks := failingFleet(t)
	out := filepath.Join(t.TempDir(), "own.vpfa")
	train := func(marks []ledger.Mark, args ...string) (string, int) {
		return runPFA(t, append([]string{"train", "--store", db, "--ledger", writeMarks(t, marks), "--out", out}, args...)...)
	}
	text, code := train(marks[:12])
	if code != 2 || !strings.Contains(text, "360 hard drives, 12 of them marked as failed") ||
		!strings.Contains(text, "too few failures to train on: of 360 drives 12 failed") || !strings.Contains(text, "expected at least 30") {
		t.Errorf("exit %d with 12 failures:\n%s", code, text)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("a refused training left %s: %v", out, err)
	}
	// What was marked by mistake is taken back by another word on the same time.
	wrong := marks[0]
	wrong.Outcome = ledger.Healthy
	text, code = train(append(marks, wrong))
	if code != 0 || !strings.Contains(text, fmt.Sprintf("%d of them marked as failed", len(marks)-1)) {
		t.Fatalf("exit %d:\n%s", code, text)
	}
	text, code = runPFA(t, "model", "show", out)
	if code != 0 || !strings.Contains(text, "grade A") || !strings.Contains(text, "| vireo.db | 360 |") {
		t.Errorf("exit %d:\n%s", code, text)
	}
	daily := write(t, "daily.csv", "date,serial_number,model,failure,smart_5_raw,smart_9_raw,smart_197_raw\n"+
		"2026-09-01,NEW1,ST4000DM000,0,0,9000,0\n2026-09-02,NEW1,ST4000DM000,0,0,9024,24\n")
	scores := filepath.Join(t.TempDir(), "scores.csv")
	if text, code := runPFA(t, "score", "--model", out, "--daily", daily, "--out", scores); code != 0 {
		t.Fatalf("exit %d:\n%s", code, text)
	}
	b, err := os.ReadFile(scores)
	if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); err != nil || len(lines) != 3 || !strings.Contains(lines[2], ",A,") {
		t.Errorf("%v:\n%s", err, b)
	}
}
