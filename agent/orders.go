package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// lane holds the orders for one domain: one at a time, in the order in which
// they came.
type lane struct {
	running *agentv1.Order
	waiting []*agentv1.Order
}

func (d *domain) busy() bool {
	return d.lane.running != nil || len(d.lane.waiting) > 0 || d.looking || d.alone
}

// answers remembers what was answered to the latest orders: an order that comes
// twice has one effect and one answer.
type answers struct {
	given map[string]*agentv1.OrderResult
	ids   []string // oldest first
}

const answersKept = 1024

func (a *answers) keep(r *agentv1.OrderResult) {
	if a.given == nil {
		a.given = map[string]*agentv1.OrderResult{}
	}
	if a.given[r.Order] == nil {
		a.ids = append(a.ids, r.Order)
	}
	a.given[r.Order] = r
	if len(a.ids) > answersKept {
		delete(a.given, a.ids[0])
		a.ids = slices.Delete(a.ids, 0, 1)
	}
}

// order takes one order of the session.
func (c *Core) order(o *agentv1.Order, now time.Time) {
	if why := c.stale(o); why != "" {
		c.refuseUnheard(o, why)
		return
	}
	if r := c.answers.given[o.GetId()]; r != nil {
		c.sendResult(r)
		return
	}
	if err := c.adopt(o.GetGeneration(), o.GetTerm()); err != nil {
		c.refuseUnheard(o, err.Error())
		return
	}
	if t, is := o.GetBody().(*agentv1.Order_TakeNothing); is {
		c.takeNothing(o, t.TakeNothing.GetOn())
		return
	}
	if why := malformed(o); why != "" {
		c.refuseUnheard(o, why)
		return
	}
	d := c.domain(o.GetDomain())
	if d.lane.has(o.GetId()) {
		return // its answer will come
	}
	d.lane.waiting = append(d.lane.waiting, o)
	c.pump(d, now)
}

func (l *lane) has(id string) bool {
	return l.running != nil && l.running.GetId() == id ||
		slices.ContainsFunc(l.waiting, func(o *agentv1.Order) bool { return o.GetId() == id })
}

// stale says why an order is not for this boot, this session and this
// generation and term.
func (c *Core) stale(o *agentv1.Order) string {
	switch {
	case o.GetBootId() != c.host.BootID:
		return fmt.Sprintf("the order is for boot %s, this is boot %s", o.GetBootId(), c.host.BootID)
	case o.GetSession() != c.link.session || c.link.session == "":
		return fmt.Sprintf("the order is of session %s, not of this one", o.GetSession())
	}
	if err := c.older(o.GetGeneration(), o.GetTerm()); err != nil {
		return err.Error()
	}
	return ""
}

// outdated says why an order is older than what is known of its domain.
func (d *domain) outdated(o *agentv1.Order) string {
	if o.GetGeneration() == d.Generation && o.GetEpoch() < d.Epoch {
		return fmt.Sprintf("epoch %d is older than %d", o.GetEpoch(), d.Epoch)
	}
	return ""
}

func malformed(o *agentv1.Order) string {
	switch o.GetBody().(type) {
	case nil:
		return "the order is of a kind that this agent does not know"
	case *agentv1.Order_Confirm, *agentv1.Order_Release:
	default:
		if o.GetAttempt() == "" {
			return "the order names no attempt"
		}
	}
	switch {
	case o.GetDomain() == "":
		return "the order names no domain"
	case o.GetEpoch() == 0:
		return "the order has no epoch"
	}
	return ""
}

// pump begins the next order of a domain that has none running.
func (c *Core) pump(d *domain, now time.Time) {
	for d.lane.running == nil && len(d.lane.waiting) > 0 {
		o := d.lane.waiting[0]
		d.lane.waiting = slices.Delete(d.lane.waiting, 0, 1)
		// The world may have changed while it waited.
		why := c.stale(o)
		if why == "" {
			why = d.outdated(o)
		}
		if why != "" {
			c.refuseUnheard(o, why)
			continue
		}
		d.lane.running = o
		c.begin(d, o, now)
	}
}

func (c *Core) begin(d *domain, o *agentv1.Order, now time.Time) {
	switch b := o.GetBody().(type) {
	case *agentv1.Order_Confirm:
		c.confirm(d, o, now)
	case *agentv1.Order_Release:
		c.release(d, o, now)
	case *agentv1.Order_Prepare:
		c.prepare(d, o, b.Prepare, now)
	case *agentv1.Order_Move:
		c.move(d, o, b.Move, now)
	case *agentv1.Order_Abort:
		c.abort(d, o, now)
	case *agentv1.Order_Resume:
		c.resume(d, o, now)
	case *agentv1.Order_Void:
		c.void(d, o, now)
	case *agentv1.Order_ResumeOwn:
		c.resumeOwn(d, o, now)
	case *agentv1.Order_DestroyOwn:
		c.destroyOwn(d, o, now)
	case *agentv1.Order_Settle:
		c.settle(d, o, b.Settle, now)
	}
}

// answer ends the running order.
func (c *Core) answer(d *domain, o *agentv1.Order, outcome agentv1.Outcome, reason string, now time.Time) {
	c.Log.Info("order answered", "domain", d.UUID, "order", kind(o), "attempt", o.GetAttempt(), "epoch", o.GetEpoch(),
		"outcome", outcome.String(), "reason", reason)
	r := &agentv1.OrderResult{Order: o.GetId(), Outcome: outcome, Reason: reason}
	c.answers.keep(r)
	c.sendResult(r)
	d.lane.running = nil
	c.pump(d, now)
}

func (c *Core) done(d *domain, o *agentv1.Order, now time.Time) {
	c.answer(d, o, agentv1.Outcome_OUTCOME_DONE, "", now)
}

// refuse answers that the order was not obeyed and nothing has changed.
func (c *Core) refuse(d *domain, o *agentv1.Order, now time.Time, format string, args ...any) {
	c.answer(d, o, agentv1.Outcome_OUTCOME_REFUSED, fmt.Sprintf(format, args...), now)
}

// fail answers that the order was tried and err came of it.
func (c *Core) fail(d *domain, o *agentv1.Order, now time.Time, err error) {
	c.answer(d, o, agentv1.Outcome_OUTCOME_FAILED, virt.Message(err), now)
}

// refuseUnheard refuses an order before it reached its domain. The answer is
// not kept: the same order may be right in another session.
func (c *Core) refuseUnheard(o *agentv1.Order, why string) {
	c.Log.Warn("order refused", "domain", o.GetDomain(), "order", kind(o), "attempt", o.GetAttempt(), "reason", why)
	c.sendResult(&agentv1.OrderResult{Order: o.GetId(), Outcome: agentv1.Outcome_OUTCOME_REFUSED, Reason: why})
}

func (c *Core) sendResult(r *agentv1.OrderResult) {
	c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Result{Result: r}})
}

func kind(o *agentv1.Order) string {
	switch o.GetBody().(type) {
	case *agentv1.Order_Confirm:
		return "confirm"
	case *agentv1.Order_Release:
		return "release"
	case *agentv1.Order_Prepare:
		return "prepare"
	case *agentv1.Order_Move:
		return "move"
	case *agentv1.Order_Abort:
		return "abort"
	case *agentv1.Order_Resume:
		return "resume"
	case *agentv1.Order_Void:
		return "void"
	case *agentv1.Order_ResumeOwn:
		return "resume own"
	case *agentv1.Order_DestroyOwn:
		return "destroy own"
	case *agentv1.Order_Settle:
		return "settle"
	case *agentv1.Order_TakeNothing:
		return "take nothing"
	}
	return "unknown"
}

// raised is the domain's entry as it is once the order is obeyed, to be
// changed further and committed. A permission is for its epoch: what was held
// with an older one is not held any more, unless the order says so.
func (d *domain) raised(o *agentv1.Order) journal.Domain {
	next := d.Domain.Clone()
	next.Generation, next.Epoch = o.GetGeneration(), o.GetEpoch()
	if next.Phase == journal.Held && (next.Generation != d.Generation || next.Epoch != d.Epoch) {
		next.Phase, next.Confirmed = journal.Transferring, false
	}
	return next
}

// promise commits what an order changes, or refuses the order.
func (c *Core) promise(d *domain, o *agentv1.Order, next journal.Domain, now time.Time) bool {
	// A permission may have come while the order looked around.
	if why := d.outdated(o); why != "" {
		c.refuse(d, o, now, "%s", why)
		return false
	}
	if err := c.commit(d, next, now); err != nil {
		c.refuse(d, o, now, "the journal can't be written: %v", err)
		return false
	}
	return true
}

// looked runs then when libvirt has shown the domain as it is now, with nothing
// having happened to it since; if libvirt does not answer the order fails.
func (c *Core) looked(d *domain, o *agentv1.Order, then func(now time.Time)) {
	began := c.step
	c.Hands.Check(d.UUID, func(now time.Time, s Seen, err error) {
		c.step++
		if err != nil && !virt.IsNoDomain(err) {
			c.fail(d, o, now, err)
			c.look(d, now) // a report waits for what is newer than all that has happened
			return
		}
		c.saw(d, s, err == nil, began, now)
		switch {
		case !c.libvirt.up:
			c.fail(d, o, now, errNoLibvirt)
		case d.touched > began:
			c.looked(d, o, then) // something happened meanwhile
		default:
			then(now)
			c.reportIfReady(now) // it may have waited for this look
		}
	})
}

// takeNothing journals that this host takes nothing new, or does again.
func (c *Core) takeNothing(o *agentv1.Order, on bool) {
	h := c.host
	h.TakesNothing = on
	r := &agentv1.OrderResult{Order: o.GetId(), Outcome: agentv1.Outcome_OUTCOME_DONE}
	if h != c.host {
		if err := c.setHost(h); err != nil {
			c.refuseUnheard(o, fmt.Sprintf("the journal can't be written: %v", err))
			return
		}
	}
	c.answers.keep(r)
	c.sendResult(r)
}

// confirm takes the leader's word that this host holds the claim, with the order's
// epoch.
func (c *Core) confirm(d *domain, o *agentv1.Order, now time.Time) {
	if dep := d.leaving(); dep != nil && dep.Call == journal.CallOut {
		c.refuse(d, o, now, "attempt %s is under way here", d.Attempt.ID)
		return
	}
	if a := d.open(); a != nil && a.Arrival != nil && !a.Arrival.Resumed && d.copyOf(a.ID) && d.seen.Paused() {
		c.refuse(d, o, now, "a paused copy of attempt %s is here, and nobody has let it run", a.ID)
		return
	}
	next := d.raised(o)
	next.Phase, next.Confirmed, next.Unclaimed = journal.Held, true, ""
	old, over := d.Attempt, closeDeparture(&next)
	if a := next.Attempt; a != nil && a.Role == journal.Target && a.Stage == journal.Prepared {
		// The leader speaks of the claim while no move of it is open: it has lost
		// its store, and this one must not hide those that come after it.
		a.Stage = journal.Ended
	}
	if !c.promise(d, o, next, now) {
		return
	}
	if over {
		c.unwatch(d, old)
	}
	c.done(d, o, now)
	c.sight(d)
	if !d.Owed.IsZero() {
		c.makeUp(d, now)
	}
}

// closeDeparture ends what a journal knows of a departure once the leader has
// spoken about the claim again: it does so only when no move is open. A void
// attempt's guest has stayed; one that is over must not hide the attempts that
// come after it.
func closeDeparture(next *journal.Domain) (over bool) {
	a := next.Attempt
	switch {
	case a == nil || a.Departure == nil:
		return false
	case a.Stage == journal.Void:
		a.Departure = nil
		return true
	case a.Stage == journal.Started && a.Departure.Gone != "" && a.Departure.Call != journal.CallOut:
		a.Stage = journal.Ended
		return true
	case a.Stage == journal.Started && !a.Departure.Stopped && a.Departure.Call != journal.CallOut:
		// Its guest has stayed, and that was journaled in what is lost.
		a.Stage, a.Departure = journal.Void, nil
		return true
	}
	return false
}

// release gives the claim up, if this host has no process of the domain and no
// start of it in progress; from then on the journal forbids a start.
func (c *Core) release(d *domain, o *agentv1.Order, now time.Time) {
	c.looked(d, o, func(now time.Time) {
		if d.present() || len(d.Starts) > 0 {
			c.refuse(d, o, now, "a process of the domain is here: %s (%s)", d.seen.State, d.seen.Reason)
			return
		}
		if dep := d.leaving(); dep != nil && dep.Call == journal.CallOut {
			// Closing the attempt would permit starts, and libvirt may still take
			// the definition away.
			c.refuse(d, o, now, "the call of attempt %s is out", d.Attempt.ID)
			return
		}
		before, next := d.raised(o), d.raised(o)
		next.Phase, next.Confirmed, next.Unclaimed = journal.Released, false, ""
		if a := next.Attempt; a != nil && a.Role == journal.Target && a.Stage == journal.Prepared {
			// As with confirm: no move of it is open, and nobody would follow a copy
			// that comes yet.
			a.Stage = journal.Void
		}
		old, over := d.Attempt, closeDeparture(&next)
		if !c.promise(d, o, next, now) {
			return
		}
		if m := c.Journal.MarkOf(d.UUID); m != nil && !m.Refused {
			// Failing is logged: then the journal forbids a start that may be on
			// its way, and the claim stays where it is.
			_ = c.commit(d, before, now)
			c.takeMark(*m, now)
			c.refuse(d, o, now, "the hook has let it start while this agent did not answer")
			return
		}
		if over {
			c.unwatch(d, old)
		}
		c.done(d, o, now)
		c.sight(d)
	})
}
