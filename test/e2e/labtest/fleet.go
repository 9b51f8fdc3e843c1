//go:build e2e

package labtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/test/lab"
)

// Fleet is the one lab of a package with tests.
type Fleet struct{ *lab.Lab }

// Main brings a lab up, runs the package's tests on it and takes it down, unless one
// has failed and KEEP is set. It returns the exit code.
func (f *Fleet) Main(m *testing.M, o lab.Options) int {
	o.Say = func(s string) { fmt.Println(s) }
	var err error
	if f.Lab, err = lab.Up(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "no lab:", err)
		return 1
	}
	code := m.Run()
	if code != 0 && os.Getenv("KEEP") != "" {
		return code
	}
	if err := f.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "the lab does not go down:", err)
		return 1
	}
	return code
}

// Must runs the operator's command and returns what it prints.
func (f *Fleet) Must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := f.Vireo(t.Context(), args...)
	if err != nil {
		f.Story(t)
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// Until waits for a condition that is asked again and again, which returns "" or
// what is not yet, and returns how long it took.
func (f *Fleet) Until(t *testing.T, limit time.Duration, missing func() string) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		what := missing()
		if what == "" {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			f.Story(t)
			t.Fatalf("after %s: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Story shows what helps to understand a failure.
func (f *Fleet) Story(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"hosts"}, {"claims"}, {"migrations"}, {"events", "--last", "60"}} {
		out, err := f.Vireo(context.WithoutCancel(t.Context()), args...)
		t.Logf("$ vireo %s\n%s%v", strings.Join(args, " "), out, err)
	}
}

// On returns the names of the guests with a process on a host.
func (f *Fleet) On(t *testing.T, host string) (names []string) {
	t.Helper()
	guests, err := f.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guests {
		if slices.ContainsFunc(g.Copies, func(c lab.Copy) bool { return c.Host == host }) {
			names = append(names, g.Name)
		}
	}
	return names
}

// Watched runs do and then holds what the guests went through against what nothing
// that vireo does may do to them: no restart, no second copy, no damage, no going
// back in time, and every guest heard at the end, the last time at most so long ago.
func (f *Fleet) Watched(t *testing.T, ago time.Duration, do func()) {
	t.Helper()
	if err := f.Heartbeats().Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	do()
	time.Sleep(300 * time.Millisecond) // a beat of each, after all
	beats, err := f.Heartbeats().Guests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(beats) != len(f.Guests) {
		t.Errorf("%d of %d guests were heard", len(beats), len(f.Guests))
	}
	for _, b := range beats {
		if b.Restarts != 0 || b.Rewinds != 0 || b.DoubleSeconds != 0 || b.PatternErrors != 0 || b.DiskErrors != 0 || b.SilentMS > float64(ago.Milliseconds()) {
			t.Errorf("%s: %d restarts, %d rewinds, two senders in %d s, %d damaged pages, %d disk errors, silent for %.0f ms",
				b.Name, b.Restarts, b.Rewinds, b.DoubleSeconds, b.PatternErrors, b.DiskErrors, b.SilentMS)
		}
	}
}

// Long says whether tests that take longer are asked for too (make test-long).
func Long() bool { return os.Getenv("VIREO_LONG") != "" }
