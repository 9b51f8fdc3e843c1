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

// later calls do in a Tick at or after at. What do finds then may be another
// world: it checks again.
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

// Wake says when Tick wants to be called next.
func (c *Core) Wake() time.Time { return c.timers.all[0].at }

// Tick does what is due.
func (c *Core) Tick(now time.Time) {
	for len(c.timers.all) > 0 && !c.timers.all[0].at.After(now) {
		t := c.timers.all[0]
		c.timers.all = slices.Delete(c.timers.all, 0, 1)
		c.step++
		t.do(now)
	}
}
