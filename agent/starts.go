package agent

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// observeStarts ends starts in progress when libvirt has shown what became of
// them, in a look that was begun after they were permitted.
func (c *Core) observeStarts(d *domain) {
	if len(d.Starts) == 0 || d.starting || d.began < d.started || d.startingUp() {
		return
	}
	c.learn(d, func(n *journal.Domain) {
		n.Starts = nil
		if !d.present() {
			n.Unclaimed = "" // it failed, or has ended
		}
	})
}

// startingUp says whether libvirt is still at work on the domain's process.
func (d *domain) startingUp() bool {
	return d.present() && d.seen.State == virt.StatePaused && d.seen.Reason == virt.ReasonStartingUp
}

// readMarks takes over what the hook has decided while no agent answered.
func (c *Core) readMarks(now time.Time) {
	marks, err := c.Journal.Marks()
	if err != nil {
		c.Log.Warn("marks of the hook not read", "error", err)
		return
	}
	for _, m := range marks {
		c.takeMark(m, now)
	}
}

// takeMark journals a mark and removes it. One that can't be journaled stays
// where it is.
func (c *Core) takeMark(m journal.Mark, now time.Time) {
	d := c.domain(m.UUID)
	if m.Refused {
		next := d.Clone()
		next.Owed = m.At
		if c.commit(d, next, now) != nil {
			return
		}
		c.note(now, d.UUID, fmt.Sprintf("start of %s refused at %s: no agent answered the hook", m.Name, m.At.UTC().Format(time.DateTime+"Z")))
	} else {
		if c.begins(d, d.Clone(), m.Ground, now) != nil {
			return
		}
		if m.Ground != "" {
			c.note(now, d.UUID, fmt.Sprintf("%s started without a claim (%s) at %s: no agent answered the hook", m.Name, m.Ground, m.At.UTC().Format(time.DateTime+"Z")))
		}
	}
	if err := c.Journal.TakeMark(m.UUID); err != nil {
		c.Log.Warn("mark of the hook not removed", "domain", m.UUID, "error", err)
	}
}

// startedAlone says whether the hook has permitted a start of the domain by
// itself, and takes it over. It is asked after the journal says that the domain
// is given up: the hook leaves its mark before it reads the journal, so one of
// the two sees the other.
func (c *Core) startedAlone(d *domain, now time.Time) bool {
	m := c.Journal.MarkOf(d.UUID)
	if m == nil || m.Refused {
		return false
	}
	c.takeMark(*m, now)
	return true
}

// makeUps starts the domains whose autostart was refused after the boot, as far as
// this host may start them now.
func (c *Core) makeUps(now time.Time) {
	for _, d := range c.each() {
		if !d.Owed.IsZero() {
			c.makeUp(d, now)
		}
	}
}

func (c *Core) makeUp(d *domain, now time.Time) {
	if d.Owed.IsZero() || d.starting || d.lane.running != nil || !c.libvirt.up || !d.fresh() || c.cfg.Hook.Mode != configs.HookEnforce {
		return
	}
	if d.present() || !d.known || !d.seen.Persistent || !d.seen.Autostart {
		c.learn(d, func(n *journal.Domain) { n.Owed = time.Time{} }) // nothing is missing
		return
	}
	q := &asking{d: d, op: hook.Prepare, subject: d.seen.Domain, kind: agentv1.StartKind_START_KIND_AUTOSTART}
	q.subject.Attempt = ""
	switch j := c.judge(q); j.Decision {
	case hook.Permit:
		c.startOwed(d, d.Clone(), now)
	case hook.Ask:
		if c.link.session != "" && !c.isAsked(d) {
			c.askLeader(q, j.Reason, now)
		}
	}
}

func (c *Core) isAsked(d *domain) bool {
	for _, q := range c.permissions.asked {
		if q.d == d {
			return true
		}
	}
	return false
}

// startOwed journals next, and asks libvirt for the start. The hook is called for
// it as for every other, and finds the permission.
func (c *Core) startOwed(d *domain, next journal.Domain, now time.Time) {
	next.Owed = time.Time{}
	if c.begins(d, next, next.Unclaimed, now) != nil {
		return
	}
	d.starting = true
	name := d.seen.Name
	c.Hands.Start(d.UUID, func(now time.Time, _ struct{}, err error) {
		c.step++
		d.starting, d.started, d.touched = false, c.step, c.step
		switch {
		case err == nil:
			c.note(now, d.UUID, fmt.Sprintf("%s is started: its autostart had been refused before anything was confirmed", name))
		case !virt.IsAlreadyRunning(err):
			c.note(now, d.UUID, fmt.Sprintf("%s, whose autostart had been refused, does not start: %s", name, virt.Message(err)))
		}
		c.look(d, now)
	})
}
