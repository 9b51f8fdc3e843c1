package agent

import (
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// resume lets the target's complete copy run. It comes after the claim has been
// committed to this host.
func (c *Core) resume(d *domain, o *agentv1.Order, now time.Time) {
	attempt := o.GetAttempt()
	a := d.Attempt
	known := a != nil && a.ID == attempt && a.Role == journal.Target
	switch {
	case d.IsVoid(attempt):
		c.refuse(d, o, now, "attempt %s is void", attempt)
		return
	case !known && d.open() != nil:
		c.refuse(d, o, now, "attempt %s was not prepared here, attempt %s was", attempt, a.ID)
		return
	}
	again := func() {
		c.looked(d, o, func(now time.Time) { c.wake(d, o, known, nil, now) })
	}
	if known && c.libvirt.up && d.fresh() && d.copyOf(attempt) && arrived(d.seen.Domain) && !d.arrival().Resumed {
		// Nothing has happened to it since it was seen complete. The guest waits,
		// and Resume itself looks once more at what could have changed unsaid.
		c.wake(d, o, known, again, now)
		return
	}
	again()
}

// wake lets a copy run that is as d shows it. If it has changed meanwhile, again
// is what to do then; nil when this was the second time.
func (c *Core) wake(d *domain, o *agentv1.Order, known bool, again func(), now time.Time) {
	attempt := o.GetAttempt()
	switch {
	case !d.copyOf(attempt):
		c.refuse(d, o, now, "no process of attempt %s is here", attempt)
		return
	case d.seen.Running():
	case !arrived(d.seen.Domain):
		c.refuse(d, o, now, "the copy is not complete: %s (%s), job %s", d.seen.State, d.seen.Reason, d.seen.Job.Operation)
		return
	case known && d.arrival().Resumed:
		c.refuse(d, o, now, "the copy has run here and was paused by somebody")
		return
	}
	next := d.raised(o)
	next.Phase, next.Confirmed = journal.Held, true
	if !known {
		// The journal was lost; the leader's order and the id in the live
		// XML agree on what this process is.
		next.Attempt = &journal.Attempt{ID: attempt, Role: journal.Target, Stage: journal.Prepared,
			Arrival: &journal.Arrival{StoodBefore: true, Complete: true}}
	}
	if !c.promise(d, o, next, now) {
		return
	}
	if d.seen.Running() {
		c.resumed(d, now)
		c.done(d, o, now)
		c.look(d, now)
		return
	}
	c.Hands.Resume(d.UUID, d.asSeen(), func(now time.Time, _ struct{}, err error) {
		c.step++
		d.touched = c.step
		switch {
		case virt.IsNotAsExpected(err) && again != nil:
			again()
			return
		case err != nil:
			c.look(d, now)
			c.fail(d, o, now, err)
			return
		}
		c.resumed(d, now)
		c.done(d, o, now)
		c.look(d, now)
	})
}

// settle makes the definition follow the claim.
func (c *Core) settle(d *domain, o *agentv1.Order, s *agentv1.Settle, now time.Time) {
	c.looked(d, o, func(now time.Time) {
		if s.GetKeep() {
			c.keep(d, o, s, now)
		} else {
			c.leave(d, o, now)
		}
	})
}

// keep settles an attempt on the host where the domain stays: the definition is
// there, and autostart as it was before the move.
func (c *Core) keep(d *domain, o *agentv1.Order, s *agentv1.Settle, now time.Time) {
	if !d.known { // it ended after it had come, and somebody has undefined it
		c.closed(d, o, d.Phase, now)
		return
	}
	next := d.raised(o)
	// What was given up with this epoch stays so: the definition is the order's,
	// the permission is not.
	givenUp := d.Phase == journal.Released && d.Generation == o.GetGeneration() && d.Epoch == o.GetEpoch()
	if d.present() && !givenUp {
		next.Phase, next.Confirmed = journal.Held, true
	}
	if !c.promise(d, o, next, now) {
		return
	}
	step := func(then func(now time.Time)) Done[struct{}] {
		return func(now time.Time, _ struct{}, err error) {
			c.step++
			d.touched = c.step
			if err != nil {
				c.look(d, now)
				c.fail(d, o, now, err)
				return
			}
			then(now)
		}
	}
	autostart := func(now time.Time) {
		if !d.seen.Persistent || d.seen.Autostart == s.GetAutostart() {
			c.settled(d, o, now)
			return
		}
		c.Hands.SetAutostart(d.UUID, s.GetAutostart(), step(func(now time.Time) {
			c.looked(d, o, func(now time.Time) { c.settled(d, o, now) })
		}))
	}
	define := func(xml string, now time.Time) {
		clean, err := virt.WithoutAttempt(xml)
		if err != nil {
			c.fail(d, o, now, err)
			return
		}
		c.Hands.Define(clean, step(func(now time.Time) { c.looked(d, o, autostart) }))
	}
	if !d.seen.Persistent {
		if s.GetDefinition() == "" {
			autostart(now) // a transient domain stays one
			return
		}
		define(s.GetDefinition(), now)
		return
	}
	c.Hands.XML(d.UUID, virt.XMLFlags{Inactive: true, Secure: true}, func(now time.Time, xml string, err error) {
		c.step++
		id := ""
		if err == nil {
			id, err = virt.AttemptOf(xml)
		}
		switch {
		case err != nil:
			c.fail(d, o, now, err)
		case id != "": // a definition must not look like an incoming copy
			define(xml, now)
		default:
			autostart(now)
		}
	})
}

// settled closes the attempt where the domain stays.
func (c *Core) settled(d *domain, o *agentv1.Order, now time.Time) {
	c.closed(d, o, d.Phase, now)
}

// closed closes the attempt on this host.
func (c *Core) closed(d *domain, o *agentv1.Order, phase journal.Phase, now time.Time) {
	next := d.raised(o)
	if phase != journal.Held {
		next.Phase, next.Confirmed = phase, false
	}
	old := d.Attempt
	mine := old != nil && old.ID == o.GetAttempt()
	if mine && old.Stage != journal.Void {
		next.Attempt.Stage = journal.Ended
	}
	if !c.promise(d, o, next, now) {
		return
	}
	if mine {
		c.unwatch(d, old)
	}
	c.done(d, o, now)
	c.sight(d)
}

// leave settles an attempt on the host that the domain is not on: what the attempt
// left defined there goes, what was defined there before it stays.
func (c *Core) leave(d *domain, o *agentv1.Order, now time.Time) {
	a := d.Attempt
	mine := a != nil && a.ID == o.GetAttempt()
	switch {
	case !d.known:
		c.closed(d, o, journal.Released, now)
		return
	case d.seen.Present():
		c.refuse(d, o, now, "a process of the domain is here: %s (%s)", d.seen.State, d.seen.Reason)
		return
	case !mine:
		c.refuse(d, o, now, "nothing is known here of attempt %s: its leftovers are removed by hand", o.GetAttempt())
		return
	case d.seen.ManagedSave:
		c.refuse(d, o, now, "a managed save image of the domain is here, which only a person removes: its definition stays with it")
		return
	case a.Departure != nil && a.Departure.Gone == "" || a.Departure == nil && a.Role == journal.Source:
		c.refuse(d, o, now, "the domain has not left by attempt %s: its definition stays", a.ID)
		return
	case a.Role == "": // only voided here: the journal of it was lost
		c.refuse(d, o, now, "nothing is known here of attempt %s but that it is void: its leftovers are removed by hand", a.ID)
		return
	case a.Departure == nil && (a.Arrival == nil || a.Arrival.StoodBefore):
		c.Log.Info("the definition stood here before the attempt and stays", "domain", d.UUID, "attempt", a.ID)
		c.closed(d, o, journal.Released, now)
		return
	}
	next := d.raised(o)
	next.Phase, next.Confirmed = journal.Released, false
	if !c.promise(d, o, next, now) {
		return
	}
	c.Hands.Undefine(d.UUID, virt.UndefineOpts{KeepNVRAM: d.seen.NVRAM != ""}, func(now time.Time, _ struct{}, err error) {
		c.step++
		d.touched = c.step
		if err != nil && !virt.IsNoDomain(err) {
			c.look(d, now)
			c.fail(d, o, now, err)
			return
		}
		c.looked(d, o, func(now time.Time) { c.closed(d, o, journal.Released, now) })
	})
}
