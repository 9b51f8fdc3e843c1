package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// voidsKept is how many void attempts of one domain are remembered beside the
// latest one. Older ones are refused by their epochs.
const voidsKept = 16

// retire makes room for a new attempt. One that never got further than a
// reservation is void from now on.
func retire(next *journal.Domain) {
	a := next.Attempt
	next.Attempt = nil
	if a == nil || a.Stage != journal.Void && a.Stage != journal.Prepared {
		return
	}
	next.Void = append(next.Void, journal.Voided{Attempt: a.ID, Epoch: next.Epoch})
	if len(next.Void) > voidsKept {
		next.Void = slices.Delete(next.Void, 0, 1)
	}
}

// giveUp makes the attempt void, whether the journal knew it or not. epoch is the
// entry's epoch before the order raised it.
func giveUp(next *journal.Domain, attempt string, epoch uint64) {
	a := next.Attempt
	switch {
	case next.IsVoid(attempt):
	case a != nil && a.ID == attempt:
		a.Stage = journal.Void
	case a == nil || a.Stage == journal.Void || a.Stage == journal.Ended, superseded(next, epoch):
		retire(next)
		next.Attempt = &journal.Attempt{ID: attempt, Stage: journal.Void}
	default: // another attempt is open
		next.Void = append(next.Void, journal.Voided{Attempt: attempt, Epoch: epoch})
	}
}

// superseded says whether the journal's departure is one of long ago, brought back
// by an older copy of a lost journal: the leader has since given a newer epoch to
// another attempt, which the old departure must not hide. epoch is the entry's
// epoch before the order raised it.
func superseded(next *journal.Domain, epoch uint64) bool {
	dep := next.Attempt.Departure
	return next.Epoch > epoch && dep != nil && dep.Call != journal.CallOut
}

// void ends an attempt on this host for ever, also one that it has never seen.
func (c *Core) void(d *domain, o *agentv1.Order, now time.Time) {
	attempt := o.GetAttempt()
	if d.Attempt != nil && d.Attempt.ID == attempt && d.Attempt.Role == journal.Source {
		c.voidOwn(d, o, now)
		return
	}
	c.looked(d, o, func(now time.Time) {
		if d.copyOf(attempt) {
			c.voidCopy(d, o, now)
			return
		}
		why := c.callMayBeOut(d, now)
		if dep := d.leaving(); why == "" && dep != nil && dep.Call == journal.CallOut {
			why = fmt.Sprintf("the call of attempt %s may be out", d.Attempt.ID)
		}
		if why != "" && !d.IsVoid(attempt) {
			c.refuse(d, o, now, "%s", why)
			return
		}
		c.voided(d, o, now, nil)
	})
}

// voided journals it, answers, and says what is here now.
func (c *Core) voided(d *domain, o *agentv1.Order, now time.Time, then func(now time.Time)) {
	next := d.raised(o)
	giveUp(&next, o.GetAttempt(), d.Epoch)
	if a := next.Attempt; a != nil && a.ID == o.GetAttempt() && a.Role == journal.Target {
		next.Phase, next.Confirmed = journal.Released, false
	}
	if !c.promise(d, o, next, now) {
		return
	}
	if then != nil {
		then(now)
		return
	}
	c.startedAlone(d, now) // then what is here is a start in progress
	c.done(d, o, now)
	c.sight(d)
}

// voidOwn voids an attempt whose source this host is.
func (c *Core) voidOwn(d *domain, o *agentv1.Order, now time.Time) {
	dep := d.departure()
	switch {
	case d.Attempt.Stage == journal.Void:
		c.voided(d, o, now, nil)
	case d.Attempt.Stage == journal.Ended:
		c.refuse(d, o, now, "attempt %s is settled", d.Attempt.ID)
	case dep.Gone == journal.ByTheMove:
		c.looked(d, o, func(now time.Time) {
			if !d.present() || d.original(d.departure()) || d.alone {
				c.refuse(d, o, now, "the process has gone by the move: the target's copy is the guest")
				return
			}
			// Somebody has started it here since, or brought it back: what the
			// target has, if anything, is old memory for newer disks.
			c.voided(d, o, now, nil)
		})
	case dep.Gone == "" && d.exit.ended:
		c.refuse(d, o, now, "the process has ended, and how is not known yet")
	case dep.Gone == "" && dep.Call == journal.CallOut:
		c.refuse(d, o, now, "the migrate call is out")
	case dep.Gone == "" && dep.Destroying:
		c.refuse(d, o, now, "the process is being destroyed by order, because the target's copy runs")
	default:
		c.voided(d, o, now, nil)
	}
}

// voidCopy voids an attempt whose copy is here: the copy goes with it, if it
// has never run.
func (c *Core) voidCopy(d *domain, o *agentv1.Order, now time.Time) {
	arr := d.arrival()
	switch {
	case !d.seen.Paused():
		c.refuse(d, o, now, "the copy is %s (%s)", d.seen.State, d.seen.Reason)
		return
	case !arrived(d.seen.Domain):
		c.refuse(d, o, now, "libvirt is still at work on the copy: %s (%s), job %s", d.seen.State, d.seen.Reason, d.seen.Job.Operation)
		return
	case arr != nil && d.Attempt.ID == o.GetAttempt() && arr.Resumed:
		c.refuse(d, o, now, "the copy has run here")
		return
	case d.Phase == journal.Held && d.Confirmed:
		c.refuse(d, o, now, "this host holds the claim: the copy is the guest, and was paused by somebody")
		return
	}
	want := virt.Expect{ID: d.seen.ID, State: virt.StatePaused, Attempt: d.seen.Attempt}
	c.voided(d, o, now, func(now time.Time) {
		c.sight(d)
		c.Hands.Destroy(d.UUID, want, func(now time.Time, _ struct{}, err error) {
			c.step++
			d.touched = c.step
			c.look(d, now)
			if err != nil && !virt.IsNoDomain(err) {
				c.fail(d, o, now, err)
				return
			}
			c.Log.Info("paused copy destroyed", "domain", d.UUID, "attempt", o.GetAttempt())
			c.done(d, o, now)
		})
	})
}

// stoppedByMove says whether the source's own copy stands still because a move
// has stopped it, and nobody else.
func (d *domain) stoppedByMove() bool {
	dep := d.leaving()
	return dep != nil && d.original(dep) && d.seen.Paused() && !dep.OwnerPaused && (dep.Stopped || d.seen.PausedByMove())
}

// resumeOwn lets the source's own copy run on, after the attempt was voided.
func (c *Core) resumeOwn(d *domain, o *agentv1.Order, now time.Time) {
	if !d.IsVoid(o.GetAttempt()) {
		c.refuse(d, o, now, "attempt %s is not void here", o.GetAttempt())
		return
	}
	c.looked(d, o, func(now time.Time) {
		switch {
		case !d.present():
			c.refuse(d, o, now, "the domain has no process here")
			return
		case d.copyOf(o.GetAttempt()):
			c.refuse(d, o, now, "the process here is the attempt's copy, not this host's own")
			return
		case d.seen.Running():
			c.done(d, o, now)
			return
		case d.seen.Job.Active():
			c.refuse(d, o, now, "libvirt is still at work: %s", d.seen.Job.Operation)
			return
		case !d.stoppedByMove() && !(d.departure() == nil && d.seen.PausedByMove()): // the departure was lost with a journal
			c.refuse(d, o, now, "the domain was not paused by the move: %s (%s)", d.seen.State, d.seen.Reason)
			return
		}
		if !c.promise(d, o, d.raised(o), now) {
			return
		}
		c.Hands.Resume(d.UUID, d.asSeen(), func(now time.Time, _ struct{}, err error) {
			c.step++
			d.touched = c.step
			c.look(d, now)
			if err != nil && !virt.IsAlreadyRunning(err) {
				c.fail(d, o, now, err)
				return
			}
			c.done(d, o, now)
		})
	})
}
