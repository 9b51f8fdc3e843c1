package agent

import (
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
)

// observeArrival learns from a fresh look at the copy that an attempt brings.
func (c *Core) observeArrival(d *domain, now time.Time) {
	a := d.open()
	if a == nil || a.Arrival == nil || !d.copyOf(a.ID) {
		return
	}
	switch {
	case d.seen.Running():
		c.resumed(d, now)
	case arrived(d.seen.Domain) && !a.Arrival.Complete && !a.Arrival.Resumed:
		c.learn(d, func(n *journal.Domain) {
			n.Attempt.Arrival.Complete = true
			n.Attempt.Arrival.CompleteAt = now.Round(0)
		})
		c.Log.Info("copy complete", "domain", d.UUID, "attempt", a.ID)
	}
}

// resumed: the copy runs, whoever let it.
func (c *Core) resumed(d *domain, now time.Time) {
	if d.Attempt.Arrival.Resumed && !d.Attempt.Arrival.ResumedAt.IsZero() {
		return
	}
	c.learn(d, func(n *journal.Domain) {
		arr := n.Attempt.Arrival
		arr.Resumed = true
		if arr.ResumedAt.IsZero() {
			arr.ResumedAt = now.Round(0)
		}
	})
	d.poll.follow = followLooks
}

// reserved is the memory that prepared attempts have been promised and that no
// process uses yet, in KiB; except is not counted.
func (c *Core) reserved(except string) uint64 {
	var sum uint64
	for _, d := range c.domains {
		if a := d.open(); a != nil && a.Arrival != nil && a.ID != except && !d.present() {
			sum += a.Arrival.MemoryKiB
		}
	}
	return sum
}
