package sim

import (
	"time"
	"unsafe"
)

// clock is a machine's: its wall clock may be wrong and be set, its monotonic one
// goes on evenly.
type clock struct {
	s     *Sim
	ahead time.Duration // of the true time
}

// now is what time.Now gives on that machine.
func (c *clock) now() time.Time {
	return moment(c.s.base.Add(c.s.fleet.Now()+c.ahead), c.s.fleet.Now())
}

// until is how far a time that was made on that machine lies ahead: by the
// monotonic clock, unless the time has come back from a file.
func (c *clock) until(at time.Time) time.Duration { return at.Sub(c.now()) }

// moment is a time with both readings, as time.Now gives it and nothing else in
// the library can make: wall is what is shown and written, and everything that is
// measured goes by monotonic. A file or a store keeps the first only.
func moment(wall time.Time, monotonic time.Duration) time.Time {
	const (
		hasMonotonic = 1 << 63
		from1to1885  = (1884*365 + 1884/4 - 1884/100 + 1884/400) * 24 * 60 * 60
		from1to1970  = (1969*365 + 1969/4 - 1969/100 + 1969/400) * 24 * 60 * 60
	)
	t := wall.UTC()
	l := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	l.wall = hasMonotonic | uint64(t.Unix()+from1to1970-from1to1885)<<30 | uint64(t.Nanosecond())
	l.ext = int64(monotonic) + 1
	return t
}

// stepClock sets one machine's clock: a little, or by what a dead battery does.
func (s *Sim) stepClock(c *clock, who string) {
	d := s.spread(time.Second, 100*24*time.Hour)
	if s.chance(0.5) {
		d = -d
	}
	c.ahead += d
	s.say("%s: the clock steps by %s", who, d)
}
