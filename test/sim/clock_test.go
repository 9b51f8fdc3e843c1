package sim

import (
	"testing"
	"time"
)

// TestMoment: a stepped clock is shown and written, and nothing is measured by it.
func TestMoment(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	a, b := moment(noon, time.Hour), moment(noon.Add(-48*time.Hour), time.Hour+time.Second)
	if got := b.Sub(a); got != time.Second {
		t.Errorf("%s passed by the monotonic clock, not a second", got)
	}
	if !b.After(a) {
		t.Error("a step back makes the later moment the earlier one")
	}
	if got := b.Round(0).Sub(a.Round(0)); got != -48*time.Hour {
		t.Errorf("%s by what is written, not two days back", got)
	}
	if got := a.Format(time.RFC3339Nano); got != "2026-03-01T12:00:00.000000005Z" {
		t.Errorf("shown as %s", got)
	}
	if got := a.Add(time.Minute).Sub(a); got != time.Minute {
		t.Errorf("a minute later is %s later", got)
	}
}
