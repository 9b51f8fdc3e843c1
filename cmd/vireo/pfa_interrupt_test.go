package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// interruptedWriter ends the context at the first thing that long work says.
type interruptedWriter struct {
	cancel context.CancelFunc
	said   strings.Builder
}

func (w *interruptedWriter) Write(b []byte) (int, error) {
	w.cancel()
	return w.said.Write(b)
}

// Long work that is interrupted ends with 130 and leaves what was there: no
// file, or the old one.
func TestInterruptedLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	var marks strings.Builder
	marks.WriteString("serial_number,poh\n")
	for i := range 40000 { // more than is scored at once
		fmt.Fprintf(&marks, "A,%d\n", 100+i%2000)
	}
	drives, segments, landmarks := write(t, "d.csv", drivesFull), write(t, "s.csv", segmentsFull), write(t, "l.csv", marks.String())
	old := filepath.Join(dir, "old.csv")
	if err := os.WriteFile(old, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"train": {"train", "--kind", "memory", "--features", filepath.Join("testdata", "leaks", "clean.csv"), "--out", filepath.Join(dir, "m.vpfa"),
			"--card", filepath.Join(dir, "card.md")},
		"score": {"score", "--segments", segments, "--drives", drives, "--landmarks", landmarks, "--out", old},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := newRunner(t, fleet())
			if name == "score" {
				cancel() // it says nothing in its first seconds
			}
			r.program.err = &interruptedWriter{cancel: cancel}
			if code := r.run(ctx, append([]string{"pfa"}, args...)); code != exitInterrupted {
				t.Errorf("exit %d, want %d", code, exitInterrupted)
			}
		})
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "old\n" {
		t.Errorf("the old file became %q, %v", b, err)
	}
}
