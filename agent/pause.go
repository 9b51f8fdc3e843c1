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
//
// Only KVM sees every write of a guest between two passes. QEMU's own emulation
// (up to 7.2, tried) misses those that go through a cached translation, and the
// more passes a move takes, the more of the guest's memory is old on the target:
// one in about forty idle guests stood still for ever. An emulated guest gets
// the whole limit at once.
func (c *Core) limitPause(d *domain, pass int) {
	dep := d.leaving()
	switch {
	case dep == nil || dep.Call != journal.CallOut:
		return // somebody else's migration
	case dep.Stopped:
		return // the last pass: the guest stands still, and a question would keep its QEMU from it
	}
	first := firstPause
	if d.seen.Type != "kvm" {
		first = 1
	}
	if limit := pauseLimit(dep.MaxDowntime, first, pass); limit != d.limit {
		d.limit = limit
		c.Hands.LimitPause(d.UUID, limit)
	}
}

// pauseLimit is the limit for a pass, 1 for the first: of the longest pause that
// was ordered, 0 for QEMU's, one part in first, and more with each pass; at least 1 ms.
func pauseLimit(most time.Duration, first, pass int) time.Duration {
	if most <= 0 {
		most = qemuPause
	}
	limit := max(most/time.Duration(first), time.Millisecond)
	for ; pass > patience && limit < most; pass-- {
		limit *= 2
	}
	return min(limit, most)
}
