package migration

import (
	"fmt"
	"time"
)

// TimeoutFor is how long a move may take: perGiB for each GiB of the guest's
// memory, rounded up, so that a guest of 128 MiB gets perGiB once.
// Nova does the same (live_migration_completion_timeout, 800 s per GiB).
func TimeoutFor(memoryKiB uint64, perGiB time.Duration) time.Duration {
	const gib = 1 << 20 // KiB
	return time.Duration((memoryKiB+gib-1)/gib) * perGiB
}

// Watch remembers the least that was ever left to copy and when that was first
// seen: a move that gets no closer than that is stalled, however much it copies.
type Watch struct {
	Best  uint64 // bytes remaining
	Since time.Time
}

// See returns the watch after one more look at the progress.
func (w Watch) See(p Progress) Watch {
	if w.Since.IsZero() || p.DataRemaining < w.Best {
		return Watch{Best: p.DataRemaining, Since: p.At}
	}
	return w
}

// GiveUp says why the copying should be given up now, or "". A limit of 0 is
// no limit. It never gives up once the guest has stopped on the source: finishing
// is quicker then than going back.
func GiveUp(r Row, w Watch, stall time.Duration, now time.Time) string {
	if r.State != Preparing && r.State != Running {
		return ""
	}
	if took := now.Sub(r.Started); r.Options.Timeout > 0 && took > r.Options.Timeout {
		return fmt.Sprintf("not finished after %s (limit %s)", took.Round(time.Second), r.Options.Timeout)
	}
	if quiet := now.Sub(w.Since); stall > 0 && !w.Since.IsZero() && quiet > stall {
		return fmt.Sprintf("no closer for %s: %d bytes remain (the guest dirties memory faster than it is copied)", quiet.Round(time.Second), w.Best)
	}
	return ""
}
