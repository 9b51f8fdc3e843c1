package agent

import (
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
)

const (
	// qemuPause is QEMU's own limit, which libvirt leaves in place (downtime-limit, 300 ms).
	qemuPause = 300 * time.Millisecond
	// firstPause is the part of the limit that a move begins with.
	firstPause = 10
	// patience is how many passes over the memory a limit of its beginning is
	// given: the first is all of it, the second what changed meanwhile.
	patience = 2
)

// limitPause limits how long a guest stands still at the end of its move. It is
// called when QEMU begins a pass over the guest's memory.
//
// QEMU stops a guest as soon as it expects to send what is left within the
// limit, not when little is left: on a fast link 300 ms are most of a small
// guest's memory, and the guest stands still for them although nothing hurries.
// So a move begins with a tenth of the limit, and the limit doubles with every
// pass once two passes were not enough, as oVirt and Nova do by time. libvirt
// sets the parameters of a migration back when it fails: a limit that is set
// while it runs leaves nothing behind, whoever dies.
func (c *Core) limitPause(d *domain, pass int) {
	dep := d.leaving()
	switch {
	case dep == nil || dep.Call != journal.CallOut:
		return // somebody else's migration
	case dep.Stopped:
		return // the last pass: the guest stands still, and a question would keep its QEMU from it
	}
	if limit := pauseLimit(dep.MaxDowntime, pass); limit != d.limit {
		d.limit = limit
		c.Hands.LimitPause(d.UUID, limit)
	}
}

// pauseLimit is the limit for a pass, 1 for the first, of the longest pause that
// was ordered, 0 for QEMU's; at least 1 ms.
func pauseLimit(most time.Duration, pass int) time.Duration {
	if most <= 0 {
		most = qemuPause
	}
	limit := max(most/firstPause, time.Millisecond)
	for ; pass > patience && limit < most; pass-- {
		limit *= 2
	}
	return min(limit, most)
}
