package collect

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

var (
	t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	t1 = t0.Add(10 * time.Second)
)

// show writes readings as lines, and checks what holds for all of them.
func show(t *testing.T, list []signal.Reading, at time.Time) string {
	t.Helper()
	var b strings.Builder
	for _, r := range list {
		s, ok := signal.Lookup(r.Signal)
		switch {
		case !ok:
			t.Errorf("%s is not in the catalogue", r.Signal)
		case s.On != signal.ComponentKind(r.Component):
			t.Errorf("%s belongs to %s, not to %s", r.Signal, s.On, r.Component)
		case s.Unit != r.Unit:
			t.Errorf("%s has the unit %q, want %q", r.Signal, r.Unit, s.Unit)
		case !r.ObservedAt.Equal(at):
			t.Errorf("%s observed at %s", r.Signal, r.ObservedAt)
		case r.Status != signal.OK && r.Value != nil, r.Status == signal.OK && r.Value == nil && r.Text == "":
			t.Errorf("%s is %s with value %v and text %q", r.Signal, r.Status, r.Value, r.Text)
		}
		fmt.Fprintf(&b, "%s %s", r.Component, r.Signal)
		if r.Value != nil {
			fmt.Fprintf(&b, " %.6g", *r.Value)
		}
		if r.Text != "" {
			fmt.Fprintf(&b, " %q", r.Text)
		}
		if r.Status != signal.OK {
			fmt.Fprintf(&b, " %s", r.Status)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// look calls a collector once.
func look(t *testing.T, c Collector, at time.Time) string {
	t.Helper()
	got, err := c.Collect(context.Background(), at)
	if err != nil {
		t.Fatalf("%s: %v", c.Name(), err)
	}
	return show(t, got.Readings, at)
}

func same(t *testing.T, got, want string) {
	t.Helper()
	trim := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	if trim(got) != trim(want) {
		t.Errorf("got\n%s\nwant\n%s", trim(got), trim(want))
	}
}
