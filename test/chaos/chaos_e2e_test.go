//go:build e2e

package chaos

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestChaos makes a short run, or with VIREO_LONG one of ten minutes in which
// every kind has to have its turn. VIREO_SEED chooses another one.
func TestChaos(t *testing.T) {
	o := Options{Seed: 1, For: 30 * time.Second, Hook: "enforce", Out: &lines{t: t}}
	long := os.Getenv("VIREO_LONG") != ""
	if long {
		o.For = 10 * time.Minute
	}
	if s := os.Getenv("VIREO_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("VIREO_SEED: %v", err)
		}
		o.Seed = seed
	}
	rep, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	rep.Print(o.Out)
	for _, v := range rep.Violations {
		t.Error(v)
	}
	if missing := rep.Missing(); long && len(missing) > 0 {
		t.Errorf("seed %d never did: %q", o.Seed, missing)
	}
	if rep.Rounds == 0 {
		t.Error("no round has come to rest")
	}
}

// lines writes a test's log.
type lines struct{ t *testing.T }

func (l *lines) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
