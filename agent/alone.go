package agent

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
)

// peerState is what became of the connection to the target's libvirt.
type peerState string

const (
	peerNone    peerState = ""
	peerOpening peerState = "opening"
	peerOpen    peerState = "open"
)

func (d *domain) peerOpen() bool { return d.peer != peerNone }

// openPeer connects to the target's libvirt. A move begins without it if it
// can't be had; then nobody finishes it while the manager is away.
func (c *Core) openPeer(d *domain, attempt, uri string, then func(now time.Time)) {
	d.peer = peerOpening
	c.Hands.OpenPeer(attempt, uri, func(now time.Time, _ struct{}, err error) {
		c.step++
		d.peer = peerOpen
		if err != nil {
			d.peer = peerNone
			c.Log.Warn("no connection to the target's libvirt: the move can't be finished while the manager is away",
				"domain", d.UUID, "uri", uri, "error", err)
		}
		if then != nil {
			then(now)
		}
	})
}

// managerAway is how long there must be no session, after the guest is gone by
// the move, before the source finishes the move itself.
const managerAway = time.Second

// aloneAgain is the distance between tries.
const aloneAgain = time.Second

// considerAlone finishes a move while the manager is away: the source may let
// the target's copy run, because the source alone knows that its own process
// has ended by the move. The target may never conclude it.
func (c *Core) considerAlone(d *domain, now time.Time) {
	if !c.mayAlone(d) || d.alone {
		return
	}
	since := c.link.lostAt
	if d.exit.at.After(since) {
		since = d.exit.at
	}
	if due := since.Add(managerAway); due.After(now) {
		c.later(due, func(now time.Time) { c.considerAlone(d, now) })
		return
	}
	d.alone = true
	if !d.peerOpen() {
		c.openPeer(d, d.Attempt.ID, d.departure().PeerURI, func(now time.Time) { c.lookPeer(d, now) })
		return
	}
	c.lookPeer(d, now)
}

func (c *Core) mayAlone(d *domain) bool {
	dep := d.leaving()
	return c.link.session == "" && dep != nil && d.Attempt.Stage == journal.Started && dep.Guarded && !dep.OwnerPaused &&
		dep.Gone == journal.ByTheMove && !dep.Destroying && !dep.Alone.Finished()
}

// retryAlone tries again later; the outcome of what was tried is looked at
// first then.
func (c *Core) retryAlone(d *domain, now time.Time, why string) {
	c.Log.Warn("move not finished alone", "domain", d.UUID, "reason", why)
	d.alone = false
	c.later(now.Add(aloneAgain), func(now time.Time) { c.considerAlone(d, now) })
}

func (c *Core) lookPeer(d *domain, now time.Time) {
	if !c.mayAlone(d) {
		d.alone = false
		return
	}
	if d.peer != peerOpen {
		c.retryAlone(d, now, "no connection to the target's libvirt")
		return
	}
	attempt := d.Attempt.ID
	c.Hands.LookPeer(attempt, d.UUID, func(now time.Time, s virt.Domain, err error) {
		c.step++
		switch {
		case !c.mayAlone(d) || d.Attempt.ID != attempt:
			d.alone = false
		case virt.IsNotConnected(err):
			c.Hands.ClosePeer(attempt)
			d.peer = peerNone
			c.retryAlone(d, now, err.Error())
		case err != nil:
			c.retryAlone(d, now, err.Error())
		case s.Attempt != attempt:
			c.retryAlone(d, now, fmt.Sprintf("the target's copy carries attempt %q", s.Attempt))
		case s.Running():
			c.finishedAlone(d, now)
		case !arrived(s):
			c.retryAlone(d, now, fmt.Sprintf("the target's copy is %s (%s), job %s", s.State, s.Reason, s.Job.Operation))
		default:
			c.resumePeer(d, now)
		}
	})
}

func (c *Core) resumePeer(d *domain, now time.Time) {
	next := d.Domain.Clone()
	next.Attempt.Departure.Alone = journal.AloneBegun
	if err := c.commit(d, next, now); err != nil {
		c.retryAlone(d, now, err.Error())
		return
	}
	attempt := d.Attempt.ID
	c.Hands.ResumePeer(attempt, d.UUID, func(now time.Time, _ struct{}, err error) {
		c.step++
		switch {
		case d.Attempt == nil || d.Attempt.ID != attempt:
			d.alone = false
		case err != nil && !virt.IsAlreadyRunning(err):
			c.retryAlone(d, now, err.Error())
		default:
			c.finishedAlone(d, now)
		}
	})
}

func (c *Core) finishedAlone(d *domain, now time.Time) {
	d.alone = false
	c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Alone = journal.AloneDone })
	c.note(now, d.UUID, fmt.Sprintf("the manager was away: finished the move to %s from here (attempt %s)",
		d.departure().Target, d.Attempt.ID))
	c.sight(d)
}

// arrived says whether a copy is complete and kept by the guard: paused, with
// no job, and no longer in the hands of the incoming migration.
func arrived(s virt.Domain) bool {
	return s.Paused() && !s.Job.Active() &&
		s.Reason != virt.ReasonMigrating && s.Reason != virt.ReasonStartingUp && s.Reason != virt.ReasonPostCopyFailed
}
