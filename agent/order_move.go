package agent

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// departing gathers what a move needs before libvirt is called.
type departing struct {
	order   *agentv1.Order
	move    *agentv1.Move
	next    journal.Domain
	params  virt.MigrateParams
	waiting int // for the documents and the peer connection
	failed  error
}

// move begins an attempt on the source.
func (c *Core) move(d *domain, o *agentv1.Order, m *agentv1.Move, now time.Time) {
	attempt := o.GetAttempt()
	switch a := d.Attempt; {
	case d.IsVoid(attempt):
		c.refuse(d, o, now, "attempt %s is void", attempt)
		return
	case a != nil && a.ID == attempt && a.Role == journal.Source:
		c.answer(d, o, agentv1.Outcome_OUTCOME_BEGUN, "", now)
		return
	case a != nil && a.ID == attempt:
		c.refuse(d, o, now, "this host is the target of attempt %s", attempt)
		return
	case d.leaving() != nil && a.Stage == journal.Started && (d.leaving().Gone == "" || d.leaving().Call == journal.CallOut):
		c.refuse(d, o, now, "attempt %s is not over", a.ID)
		return
	}
	c.looked(d, o, func(now time.Time) {
		if why := c.callMayBeOut(d, now); why != "" {
			c.refuse(d, o, now, "%s", why)
			return
		}
		if why := cannotLeave(d); why != "" {
			c.cannotBegin(d, o, why, now)
			return
		}
		c.gather(d, o, m, now)
	})
}

// callMayBeOut says why nothing may begin or be voided here yet: a migration
// that this agent did not journal, or whose journal was lost, may be under way.
func (c *Core) callMayBeOut(d *domain, now time.Time) string {
	switch {
	case !d.present():
		return ""
	case d.seen.Job.Active() && d.seen.Job.Migration():
		return fmt.Sprintf("a migration that is not this agent's is under way (%s)", d.seen.Job.Operation)
	case !c.remembers && now.Sub(c.began) < callMayWait:
		return "this agent has no journal from before its restart: a call may still be out"
	}
	return ""
}

// cannotLeave says why the domain can't be moved as it is now.
func cannotLeave(d *domain) string {
	switch {
	case !d.known:
		return "the domain is not here"
	case !d.seen.Present():
		return fmt.Sprintf("the domain has no process here: %s (%s)", d.seen.State, d.seen.Reason)
	case d.seen.State != virt.StateRunning && d.seen.State != virt.StatePaused:
		return fmt.Sprintf("the domain is %s (%s)", d.seen.State, d.seen.Reason)
	case d.startingUp() || len(d.Starts) > 0:
		return "the domain is being started"
	case d.seen.PausedByMove():
		return "the domain is paused by another move"
	case d.seen.Job.Active():
		return fmt.Sprintf("the domain has a job: %s", d.seen.Job.Operation)
	}
	return ""
}

// cannotBegin voids an attempt whose order to begin can't be done.
func (c *Core) cannotBegin(d *domain, o *agentv1.Order, why string, now time.Time) {
	next := d.raised(o)
	old := d.Attempt
	giveUp(&next, o.GetAttempt(), d.Epoch)
	if !c.promise(d, o, next, now) {
		return
	}
	c.startedAlone(d, now) // then what is here is a start in progress
	if d.Attempt != old {
		c.unwatch(d, old)
	}
	c.answer(d, o, agentv1.Outcome_OUTCOME_FAILED, why, now)
	c.sight(d)
}

// gather reads the guest's documents and opens the connection to the target's
// libvirt: everything that takes time comes before the journal says that the
// guest is under way.
func (c *Core) gather(d *domain, o *agentv1.Order, m *agentv1.Move, now time.Time) {
	guarded := m.GetSwitchover() != agentv1.Switchover_SWITCHOVER_DIRECT
	old := d.Attempt
	next := d.raised(o)
	retire(&next)
	next.Phase, next.Confirmed = journal.Transferring, false
	next.Attempt = &journal.Attempt{ID: o.GetAttempt(), Role: journal.Source, Stage: journal.Started, Departure: &journal.Departure{
		Target: m.GetTarget(), PeerURI: m.GetPeerUri(), Guarded: guarded,
		Process: journal.Proc{
			PID: d.seen.Process.PID, StartTime: d.seen.Process.StartTime, LibvirtID: d.seen.ID,
		},
		OwnerPaused: d.seen.Paused(), Persistent: d.seen.Persistent, Autostart: d.seen.Autostart,
		MaxDowntime: m.GetMaxDowntime().AsDuration(), Call: journal.CallOut,
	}}
	g := &departing{order: o, move: m, next: next, params: params(d.UUID, m, guarded, d.seen.Persistent)}
	ready := func(now time.Time) {
		if g.waiting--; g.waiting == 0 {
			c.depart(d, g, old, now)
		}
	}
	document := func(flags virt.XMLFlags, take func(xml string) error) {
		g.waiting++
		c.Hands.XML(d.UUID, flags, func(now time.Time, xml string, err error) {
			c.step++
			if err == nil {
				err = take(xml)
			}
			if err != nil && g.failed == nil {
				g.failed = err
			}
			ready(now)
		})
	}
	g.waiting = 1 // until all have been asked for
	document(virt.XMLFlags{Migratable: true, Secure: true}, func(xml string) (err error) {
		g.params.DestXML, err = virt.DestXML(xml, o.GetAttempt())
		return err
	})
	if d.seen.Persistent {
		document(virt.XMLFlags{Inactive: true}, func(xml string) error {
			g.next.Attempt.Departure.Definition = xml
			return nil
		})
	}
	c.unwatch(d, old)
	if guarded && m.GetPeerUri() != "" {
		g.waiting++
		c.openPeer(d, o.GetAttempt(), m.GetPeerUri(), ready)
	}
	ready(now)
}

func params(uuid string, m *agentv1.Move, guarded, persistent bool) virt.MigrateParams {
	p := virt.MigrateParams{
		UUID: uuid, DestURI: m.GetPeerUri(), MigrateURI: m.GetMigrateUri(),
		Guarded: guarded, Persist: persistent, CopyDisks: m.GetCopyDisks(),
		AutoConverge: m.GetAutoConverge(), PostCopy: m.GetPostCopy() && !guarded,
	}
	if n := m.GetParallel(); n > 1 {
		p.Parallel = int(n)
	}
	if b := m.GetBandwidth(); b > 0 {
		p.BandwidthMiBs = max(b>>20, 1)
	}
	return p
}

// depart journals the attempt, takes a pidfd of the guest's process, answers,
// and calls libvirt: in this order.
func (c *Core) depart(d *domain, g *departing, old *journal.Attempt, now time.Time) {
	o := g.order
	giveBack := func() {
		d.peer = peerNone
		c.Hands.ClosePeer(o.GetAttempt())
	}
	if err := g.failed; err != nil {
		giveBack()
		if virt.OutcomeUnknown(err) {
			c.fail(d, o, now, err) // libvirt does not answer: the order may come again
			return
		}
		c.cannotBegin(d, o, virt.Message(err), now)
		return
	}
	if err := g.params.Validate(); err != nil {
		giveBack()
		c.cannotBegin(d, o, err.Error(), now)
		return
	}
	switch {
	case len(d.Starts) > 0:
		giveBack()
		c.cannotBegin(d, o, "the domain has ended and is being started", now)
		return
	case d.present() && !d.original(g.next.Attempt.Departure):
		giveBack()
		c.cannotBegin(d, o, "the domain has ended and was started again meanwhile", now)
		return
	}
	if why := c.stale(o); why != "" {
		giveBack()
		c.refuse(d, o, now, "%s", why)
		return
	}
	if !c.promise(d, o, g.next, now) {
		giveBack()
		return
	}
	if c.startedAlone(d, now) {
		// The process that was looked at is not the one that would be moved, and
		// its end would be taken for the guest's.
		giveBack()
		c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Call = journal.CallEnded })
		c.cannotBegin(d, o, "the hook has let it start while this agent did not answer", now)
		return
	}
	d.exit, d.call, d.blind = exit{}, lostCall{}, !c.libvirt.up
	c.watch(d, now)
	c.answer(d, o, agentv1.Outcome_OUTCOME_BEGUN, "", now)
	c.sight(d)
	attempt := o.GetAttempt()
	d.limit = 0
	c.Hands.Migrate(g.params, func(now time.Time, _ struct{}, err error) {
		if d.Attempt == nil || d.Attempt.ID != attempt || d.Attempt.Departure == nil {
			c.step++
			return // replaced or closed: only a call that was lost is
		}
		c.migrated(d, now, err)
	})
	c.schedule(d, now)
}

// abort asks libvirt to end the attempt's job; what is true afterwards decides.
func (c *Core) abort(d *domain, o *agentv1.Order, now time.Time) {
	dep := d.leaving()
	if dep == nil || d.Attempt.ID != o.GetAttempt() {
		c.refuse(d, o, now, "attempt %s is not under way here", o.GetAttempt())
		return
	}
	c.looked(d, o, func(now time.Time) {
		switch {
		case dep.Call != journal.CallOut || d.exit.ended:
			c.done(d, o, now)
		case !d.original(dep) || !d.seen.Job.Active():
			c.refuse(d, o, now, "libvirt shows no job of the attempt to end")
		case d.seen.Job.Operation != virt.OpMigrate:
			c.refuse(d, o, now, "the job is not the attempt's: %s", d.seen.Job.Operation)
		case d.seen.Reason == virt.ReasonPostCopy || d.seen.Reason == virt.ReasonPostCopyFailed:
			c.refuse(d, o, now, "post-copy has begun: nothing may end it")
		default:
			c.Hands.AbortJob(d.UUID, func(now time.Time, _ struct{}, err error) {
				c.step++
				if err != nil && !virt.IsOperationInvalid(err) {
					c.fail(d, o, now, err)
					return
				}
				c.done(d, o, now)
			})
		}
	})
}
