package agent

import (
	"errors"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
)

// exit is what is known of the end of the process that an attempt began with.
type exit struct {
	stop    func() // ends the watch; nil without one
	ended   bool   // the pidfd has fired
	at      time.Time
	step    uint64 // at which it fired
	barrier bool   // the events of before are all here
	decided bool
	// last is the detail of libvirt's Stopped event, "" before it.
	last string
	// struck is when its destruction was ordered, or when this agent found in the
	// journal that it had been.
	struck time.Time
	// log is what the domain's own log says of the end, once it was read.
	log logRead
}

// logRead is libvirt's word about an end that outlives libvirtd, asked for when
// nothing else tells.
type logRead struct {
	asked, read bool
	reason      virt.Reason
}

// lostCall is a migrate call whose return this agent will not see: it was made
// before a restart, or the connection that carried it broke.
type lostCall struct {
	lost bool
	// idle is since when libvirt has shown no job; zero while it shows one or
	// does not answer.
	idle time.Time
	// at is when the call was made for certain: when it returned without an
	// outcome, or when this agent began. Zero: it may be made yet.
	at time.Time
}

// callMayWait is how long libvirt must show no job before a call that nobody
// waits for any more counts as ended: it may wait 30 s in libvirtd's queue.
const callMayWait = 40 * time.Second

// callDied is how long libvirt must show no job when the libvirtd that had the
// call has ended: nothing waits in another one's queue.
const callDied = 2 * time.Second

// pickUp goes on with what the journal says of a domain after a restart of the
// agent: whatever happened in between was not seen.
func (c *Core) pickUp(d *domain, now time.Time) {
	d.blind = true
	dep := d.leaving()
	if dep == nil {
		return
	}
	if dep.Call == journal.CallOut {
		d.call = lostCall{lost: true, at: now}
	}
	if dep.Gone != "" {
		d.exit = exit{ended: true, barrier: true, decided: true, at: now}
		c.considerAlone(d, now)
		return
	}
	c.watch(d, now)
	d.exit.struck = now
}

// survivors looks again at what is on its way, when libvirt is there, and opens
// again what a move under way needs.
func (c *Core) survivors(now time.Time) {
	for _, d := range c.each() {
		if d.open() == nil && d.leaving() == nil && len(d.Starts) == 0 {
			continue // the next complete list shows it
		}
		d.touched = c.step
		c.look(d, now)
		if dep := d.leaving(); dep != nil && dep.Guarded && d.Attempt.Stage == journal.Started && !d.peerOpen() {
			c.openPeer(d, d.Attempt.ID, dep.PeerURI, nil)
		}
	}
}

// watch takes a pidfd of the process that the attempt began with.
func (c *Core) watch(d *domain, now time.Time) {
	attempt, p := d.Attempt.ID, d.departure().Process
	stop, err := c.Watch.Exit(virt.Process{PID: p.PID, StartTime: p.StartTime}, func(now time.Time) {
		c.step++
		if d.Attempt != nil && d.Attempt.ID == attempt {
			c.exited(d, now)
		}
	})
	if err != nil {
		// libvirt's own view tells the end as well, only later.
		c.Log.Warn("process not watched", "domain", d.UUID, "pid", p.PID, "error", err)
		return
	}
	d.exit.stop = stop
}

// unwatch ends what watches over an attempt that is over or replaced.
func (c *Core) unwatch(d *domain, old *journal.Attempt) {
	if d.exit.stop != nil {
		d.exit.stop()
	}
	if old != nil && old.Departure != nil {
		c.Hands.ClosePeer(old.ID)
	}
	d.exit, d.call, d.peer = exit{}, lostCall{}, peerNone
}

// exited takes the end of the process that the attempt began with. How it ended,
// the events that libvirt sent before will tell, or libvirt itself.
func (c *Core) exited(d *domain, now time.Time) {
	dep := d.departure()
	if dep == nil || d.exit.ended {
		return
	}
	d.exit.ended, d.exit.at, d.exit.step = true, now, c.step
	d.touched = c.step
	if dep.Gone != "" {
		d.exit.decided = true
		return
	}
	c.barrier(d, now)
	d.hurry(now)
}

func (c *Core) barrier(d *domain, now time.Time) {
	attempt := d.Attempt.ID
	c.Hands.Barrier(func(now time.Time, _ struct{}, err error) {
		c.step++
		if d.Attempt == nil || d.Attempt.ID != attempt || d.exit.decided {
			return
		}
		if err != nil {
			// Nothing is lost but speed: with libvirt back, its own word decides.
			c.Log.Warn("no round trip to libvirt after the process ended", "domain", d.UUID, "error", err)
			d.blind = true
		}
		d.exit.barrier = true
		c.decide(d, now)
		c.look(d, now)
	})
}

// decide finds out how the process ended, if that can be known now.
func (c *Core) decide(d *domain, now time.Time) {
	dep := d.departure()
	if !d.exit.ended || !d.exit.barrier || d.exit.decided && dep.Gone != journal.NobodyKnows {
		return
	}
	gone := c.ending(d, dep)
	if gone == "" || gone == dep.Gone {
		return
	}
	if gone == journal.NobodyKnows && !d.exit.log.read {
		c.readLog(d)
		return
	}
	d.exit.decided = true
	c.learn(d, func(n *journal.Domain) {
		dep := n.Attempt.Departure
		dep.Gone = gone
		if dep.GoneAt.IsZero() {
			dep.GoneAt = d.exit.at.Round(0)
		}
	})
	c.Log.Info("process gone", "domain", d.UUID, "attempt", d.Attempt.ID, "gone", gone)
	c.sight(d)
	c.reportIfReady(now)
	c.considerAlone(d, now)
}

// readLog asks what libvirt noted of the end in the domain's log: the last resort
// before an end is one that nobody can explain. An end from before a boot never
// comes here: the journal says of it that nobody knows. The
// machine may have gone down before the log's last lines came to its disk, and
// what is there may be of an earlier end.
func (c *Core) readLog(d *domain) {
	if d.exit.log.asked {
		return
	}
	d.exit.log.asked = true
	attempt := d.Attempt.ID
	c.Hands.LoggedEnd(d.Name, func(now time.Time, reason virt.Reason, err error) {
		c.step++
		if d.Attempt == nil || d.Attempt.ID != attempt {
			return
		}
		if virt.OutcomeUnknown(err) {
			d.exit.log.asked = false // the next look asks again
			return
		}
		if err != nil {
			c.Log.Warn("the domain's log was not read", "domain", d.UUID, "error", err)
		}
		d.exit.log.read, d.exit.log.reason = true, reason
		c.decide(d, now)
	})
}

// ending says how the process ended, "" while libvirt has not shown it yet. It
// says by the move only on one of five grounds (DESIGN.md), each of which proves
// that the process did not run again after the move had stopped it.
func (c *Core) ending(d *domain, dep *journal.Departure) journal.Gone {
	// libvirt's word counts if it was given after the process had ended.
	told := d.began >= d.exit.step && d.fresh() && c.libvirt.up
	shutOff := told && d.known && !d.seen.Present()
	went := told && !d.known
	switch {
	case !d.blind && dep.Stopped:
		return journal.ByTheMove // its last word was Suspended Migrated
	case d.exit.last == virt.DetailMigrated, shutOff && d.seen.Reason == virt.ReasonMigrated:
		return journal.ByTheMove
	case d.exit.log.reason == virt.ReasonMigrated:
		return journal.ByTheMove // libvirt wrote so before it killed the process
	case went && dep.Persistent && dep.CallError == "":
		return journal.ByTheMove // the definition went with the call
	case dep.Destroying && (d.exit.last == virt.DetailDestroyed || shutOff || went):
		return journal.ByTheMove // by our own order, while it was stopped
	case d.exit.last == virt.DetailShutdown, shutOff && d.seen.Reason == virt.ReasonShutdown:
		return journal.Otherwise // only a guest that runs shuts down
	case !d.blind && d.exit.last != "":
		return journal.Otherwise // seen all the way
	case !d.blind && (shutOff || went) && dep.Call != journal.CallOut:
		return journal.Otherwise
	case d.blind && (shutOff || went):
		return journal.NobodyKnows
	case told && d.present() && !d.original(dep):
		return journal.NobodyKnows // another process is here already
	}
	return ""
}

// lifecycle follows the events of the process that an attempt began with, and
// of the copy that one brought.
func (c *Core) lifecycle(d *domain, e virt.Event, now time.Time) {
	if e.Event != virt.Started && e.Event != virt.Defined {
		d.hurry(now)
	}
	if dep := d.leaving(); dep != nil && dep.Gone == "" {
		switch {
		case e.SuspendedByMove():
			c.stopped(d, now)
		case e.Event == virt.Suspended && e.Detail == virt.DetailPaused:
			c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.OwnerPaused = true })
		case e.Event == virt.Resumed:
			c.learn(d, func(n *journal.Domain) {
				n.Attempt.Departure.OwnerPaused = false
				n.Attempt.Departure.Stopped = false
				n.Attempt.Departure.StoppedAt = time.Time{}
				n.Attempt.Departure.Destroying = false
			})
		case e.Event == virt.Stopped:
			d.exit.last = e.Detail
			if d.exit.stop == nil {
				c.exited(d, now) // without a pidfd this is how it is learnt
			}
			c.decide(d, now)
		}
	}
	if a := d.open(); a != nil && a.Arrival != nil && e.Event == virt.Resumed && d.copyOf(a.ID) {
		c.resumed(d, now)
	}
}

func (c *Core) stopped(d *domain, now time.Time) {
	c.learn(d, func(n *journal.Domain) {
		dep := n.Attempt.Departure
		dep.Stopped = true
		if dep.StoppedAt.IsZero() {
			dep.StoppedAt = now.Round(0)
		}
	})
}

// observeDeparture learns from a fresh look at a domain that is leaving.
func (c *Core) observeDeparture(d *domain, now time.Time) {
	dep := d.leaving()
	if dep == nil {
		return
	}
	if d.original(dep) && !d.exit.ended {
		switch {
		case d.seen.PausedByMove() && !dep.Stopped:
			c.stopped(d, now)
		case d.seen.Running():
			c.learn(d, func(n *journal.Domain) {
				n.Attempt.Departure.Stopped, n.Attempt.Departure.Destroying, n.Attempt.Departure.OwnerPaused = false, false, false
			})
		case d.seen.Paused() && d.seen.Reason == virt.ReasonUser && !dep.Stopped:
			c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.OwnerPaused = true })
		case dep.Destroying && c.outlived(d, d.exit.struck):
			// A destruction whose answer was lost has not come about, and whoever was
			// to do it has ended.
			c.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Destroying = false })
		}
		d.blind = false // from here on every event is seen
	}
	if !d.exit.ended && d.exit.stop == nil && !d.original(dep) {
		d.blind = true
		c.exited(d, now)
	}
	c.decide(d, now)
	c.idle(d, now)
}

// idle waits for the end of a call whose return nobody will see.
func (c *Core) idle(d *domain, now time.Time) {
	dep := d.leaving()
	if dep == nil || !d.call.lost || dep.Call != journal.CallOut {
		return
	}
	switch {
	case dep.Gone == journal.ByTheMove && !d.known && d.fresh() && c.libvirt.up:
		// Process and definition have left: there is nothing that the call
		// could still do, wherever it waits.
		c.callEnded(d, now, "")
	case d.known && d.seen.Job.Active():
		d.call.idle = time.Time{}
	case d.call.idle.IsZero():
		d.call.idle = now
	case now.Sub(d.call.idle) >= callDied && c.outlived(d, d.call.at):
		c.callEnded(d, now, "libvirtd has ended during the call, and the one that runs now shows no job")
	case now.Sub(d.call.idle) >= callMayWait:
		c.callEnded(d, now, "its answer was lost with the agent or the connection that had called; it has shown no job for 40 s")
	}
}

// outlived says whether the libvirtd that ran at the time asked has ended: the one
// that runs now was started later.
func (c *Core) outlived(d *domain, asked time.Time) bool {
	since := c.libvirt.facts.DaemonSince
	return c.libvirt.up && d.fresh() && !asked.IsZero() && since.After(asked)
}

// migrated takes the return of the migrate call. What the call says is a hint; that
// it has returned is a fact.
func (c *Core) migrated(d *domain, now time.Time, err error) {
	c.step++
	d.touched = c.step
	switch {
	case err == nil:
		c.callEnded(d, now, "")
	case virt.OutcomeUnknown(err) && !errors.Is(err, ErrNotCalled):
		c.Log.Warn("migrate call lost", "domain", d.UUID, "error", err)
		d.call = lostCall{lost: true, at: now}
	default:
		c.callEnded(d, now, virt.Message(err))
	}
	d.hurry(now)
	c.look(d, now)
}

func (c *Core) callEnded(d *domain, now time.Time, why string) {
	c.Log.Info("migrate call ended", "domain", d.UUID, "attempt", d.Attempt.ID, "error", why)
	d.call = lostCall{}
	c.learn(d, func(n *journal.Domain) {
		n.Attempt.Departure.Call = journal.CallEnded
		n.Attempt.Departure.CallError = why
	})
	c.decide(d, now)
}
