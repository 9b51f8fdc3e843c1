package agent

import (
	"slices"
	"time"
)

// timers are what the Core wants to do later: it has no clock, so its owner
// asks Wake and calls Tick.
type timers struct {
	all  []timer // sorted by time, then by order of creation
	last uint64
}

type timer struct {
	at time.Time
	id uint64
	do func(now time.Time)
}

// later calls do once, in the first Tick at or after at. Anything may have changed
// until then, so do has to check again what it relies on.
func (c *Core) later(at time.Time, do func(now time.Time)) {
	c.timers.last++
	t := timer{at: at, id: c.timers.last, do: do}
	i, _ := slices.BinarySearchFunc(c.timers.all, t, func(a, b timer) int {
		if d := a.at.Compare(b.at); d != 0 {
			return d
		}
		return int(int64(a.id) - int64(b.id))
	})
	c.timers.all = slices.Insert(c.timers.all, i, t)
}

// Wake is when Tick is to be called next; a later call delays what is due.
func (c *Core) Wake() time.Time { return c.timers.all[0].at }

// Tick does what is due at now.
func (c *Core) Tick(now time.Time) {
	for len(c.timers.all) > 0 && !c.timers.all[0].at.After(now) {
		t := c.timers.all[0]
		c.timers.all = slices.Delete(c.timers.all, 0, 1)
		c.step++
		t.do(now)
	}
}
