package migration

import (
	"strings"
	"testing"
	"time"
)

func TestTimeoutFor(t *testing.T) {
	for _, c := range []struct {
		kib  uint64
		want time.Duration
	}{{0, 0}, {128 << 10, time.Minute}, {1 << 20, time.Minute}, {1<<20 + 1, 2 * time.Minute}, {64 << 20, 64 * time.Minute}} {
		if got := TimeoutFor(c.kib, time.Minute); got != c.want {
			t.Errorf("TimeoutFor(%d KiB) = %s, want %s", c.kib, got, c.want)
		}
	}
}

func TestGiveUp(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var w Watch
	for i, left := range []uint64{900, 500, 300, 350, 310, 330} {
		w = w.See(Progress{DataRemaining: left, At: at(i)})
	}
	if w.Best != 300 || !w.Since.Equal(at(2)) {
		t.Fatalf("watch %+v, want the lowest, 300 at second 2", w)
	}
	row := Row{State: Running, Started: start, Options: Options{Timeout: time.Minute}}
	for _, c := range []struct {
		name  string
		state State
		stall time.Duration
		now   int
		want  string
	}{
		{"getting there", Running, 10 * time.Second, 12, ""},
		{"stalled", Running, 10 * time.Second, 13, "no closer for 11s: 300 bytes remain"},
		{"no stall limit", Running, 0, 50, ""},
		{"too long", Running, 0, 61, "not finished after 1m1s (limit 1m0s)"},
		{"already switching", Switching, time.Second, 500, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			row.State = c.state
			got := GiveUp(row, w, c.stall, at(c.now))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("GiveUp = %q, want %q", got, c.want)
			}
		})
	}
}
