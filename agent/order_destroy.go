package agent

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// destroyOwn destroys the source's own stopped copy, when the target's runs.
func (c *Core) destroyOwn(d *domain, o *agentv1.Order, now time.Time) {
	c.looked(d, o, func(now time.Time) {
		next := d.raised(o)
		byHand := d.leaving() == nil || d.Attempt.ID != o.GetAttempt()
		if byHand {
			if why := c.notLeftByHand(d, o.GetAttempt(), now); why != "" {
				c.refuse(d, o, now, "%s", why)
				return
			}
			d.leftByHand(&next, o.GetAttempt())
		}
		dep := next.Attempt.Departure
		switch {
		case dep.Gone == journal.ByTheMove:
			c.done(d, o, now)
			return
		case dep.Gone != "" || d.exit.ended || !d.original(dep):
			c.refuse(d, o, now, "the process of the attempt is not here any more")
			return
		case dep.Call == journal.CallOut:
			c.refuse(d, o, now, "the migrate call is out")
			return
		case !byHand && !d.stoppedByMove() || d.seen.Job.Active():
			c.refuse(d, o, now, "the domain is not stopped by the move: %s (%s), job %s", d.seen.State, d.seen.Reason, d.seen.Job.Operation)
			return
		}
		dep.Destroying = true
		old := d.Attempt
		if !c.promise(d, o, next, now) {
			return
		}
		if byHand {
			c.unwatch(d, old)
			c.watch(d, now)
		}
		d.exit.struck = now
		want := virt.Expect{ID: d.seen.ID, State: virt.StatePaused, Attempt: d.seen.Attempt}
		c.Hands.Destroy(d.UUID, want, func(now time.Time, _ struct{}, err error) {
			c.step++
			d.touched = c.step
			c.look(d, now)
			if err != nil && !virt.IsNoDomain(err) {
				if !virt.OutcomeUnknown(err) {
					c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Destroying = false })
				}
				c.fail(d, o, now, err)
				return
			}
			c.done(d, o, now)
		})
	})
}

// notLeftByHand says why the process here is not one that somebody's migration has
// stopped and left, "" when it is. No agent has called for such a move, so what
// libvirt shows has to say it.
func (c *Core) notLeftByHand(d *domain, attempt string, now time.Time) string {
	why := c.callMayBeOut(d, now)
	switch {
	case d.open() != nil, d.Attempt != nil && d.Attempt.ID == attempt, d.copyOf(attempt), d.IsVoid(attempt):
		return fmt.Sprintf("this host is not the source of attempt %s", attempt)
	case why != "":
		return why
	case !d.present():
		return "the domain has no process here"
	case !d.seen.PausedByMove():
		return fmt.Sprintf("the domain is not stopped by a migration: %s (%s)", d.seen.State, d.seen.Reason)
	}
	return ""
}

// leftByHand gives the journal's entry the departure of a move that no agent has
// begun: from here on its end is watched like any other's.
func (d *domain) leftByHand(next *journal.Domain, attempt string) {
	retire(next)
	next.Phase, next.Confirmed = journal.Transferring, false
	next.Attempt = &journal.Attempt{ID: attempt, Role: journal.Source, Stage: journal.Started, Departure: &journal.Departure{
		Process:    journal.Proc{PID: d.seen.Process.PID, StartTime: d.seen.Process.StartTime, LibvirtID: d.seen.ID},
		Persistent: d.seen.Persistent, Autostart: d.seen.Autostart,
		Call: journal.CallEnded, Stopped: true,
	}}
}
