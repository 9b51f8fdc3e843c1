package agent

import (
	"reflect"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// domain is one domain as this host knows it: what is journaled, and what
// libvirt last showed.
type domain struct {
	journal.Domain
	// unwritten: facts were learnt that the journal could not take yet.
	unwritten bool

	seen    Seen
	known   bool   // libvirt knows it
	began   uint64 // step at which the look that gave seen began
	touched uint64 // step at which something last happened to it
	looking bool
	again   bool // look once more when the present look returns

	// sighted is what the manager was shown last, in session sightedIn.
	sighted   *agentv1.Domain
	sightedIn string

	// blind: events may have been missed since libvirt last showed the process.
	blind bool
	exit  exit
	lane  lane
	poll  poll
	call  lostCall
	peer  peerState
	limit time.Duration // the pause that its QEMU was told last to aim at; 0: none by this agent since it started
	alone bool          // a resumption over the peer connection is under way
	// started is the step at which the latest start was permitted; starting: this
	// agent's own call for one is out.
	started  uint64
	starting bool
}

// fresh says whether seen is newer than everything that happened.
func (d *domain) fresh() bool { return d.began >= d.touched }

func (d *domain) present() bool { return d.known && d.seen.Present() }

// asSeen is what the domain must still look like when libvirt is told to do
// something that follows from what was seen.
func (d *domain) asSeen() virt.Expect {
	return virt.Expect{ID: d.seen.ID, State: d.seen.State, Attempt: d.seen.Attempt}
}

// journaled says whether the journal knows anything of it.
func (d *domain) journaled() bool {
	return d.Epoch > 0 || d.Phase != "" || d.Attempt != nil || len(d.Void) > 0 || len(d.Starts) > 0 || !d.Owed.IsZero()
}

// departure is the source's side of the latest attempt, nil without one.
func (d *domain) departure() *journal.Departure {
	if d.Attempt == nil {
		return nil
	}
	return d.Attempt.Departure
}

// leaving is the departure of an attempt that has started and is not settled;
// also of a void one, until the claim is confirmed again.
func (d *domain) leaving() *journal.Departure {
	if d.Attempt == nil || d.Attempt.Stage != journal.Started && d.Attempt.Stage != journal.Void {
		return nil
	}
	return d.Attempt.Departure
}

// arrival is the target's side of the latest attempt, void or not.
func (d *domain) arrival() *journal.Arrival {
	if d.Attempt == nil {
		return nil
	}
	return d.Attempt.Arrival
}

// open is the attempt that is neither void nor settled, nil without one.
func (d *domain) open() *journal.Attempt {
	if a := d.Attempt; a != nil && (a.Stage == journal.Prepared || a.Stage == journal.Started) {
		return a
	}
	return nil
}

// copyOf says whether the process here is the one that the attempt brought. One
// that came by hand carries no id, or that of a move that is long over: it is
// known by having been let in, and is no other attempt's.
func (d *domain) copyOf(attempt string) bool {
	if attempt == "" || !d.present() {
		return false
	}
	if arr := d.arrival(); arr != nil && arr.ByHand && arr.Admitted && arr.Carries == d.seen.Attempt {
		return d.Attempt.ID == attempt
	}
	return d.seen.Attempt == attempt
}

// original says whether the process here is the one that the source had when
// the attempt began.
func (d *domain) original(dep *journal.Departure) bool {
	if !d.present() {
		return false
	}
	p, was := d.seen.Process, dep.Process
	if p.PID == 0 || was.PID == 0 {
		return d.seen.ID == was.LibvirtID
	}
	return p.PID == was.PID && p.StartTime == was.StartTime
}

// commit journals what an order changes. When it returns an error nothing has
// changed, and nothing may be done or answered as if it had.
func (c *Core) commit(d *domain, next journal.Domain, now time.Time) error {
	next.Changed = now.Round(0)
	if d.seen.Name != "" {
		next.Name = d.seen.Name
	}
	if err := c.Journal.SetDomain(next); err != nil {
		c.Log.Error("journal not written", "domain", d.UUID, "error", err)
		return err
	}
	d.Domain, d.unwritten = next, false
	return nil
}

// learn journals a fact that is true whether the journal can take it or not;
// if it can't now, it is tried again.
func (c *Core) learn(d *domain, change func(*journal.Domain)) {
	next := d.Domain.Clone()
	change(&next)
	if reflect.DeepEqual(next, d.Domain) {
		return
	}
	d.Domain = next
	c.write(d)
}

func (c *Core) write(d *domain) {
	err := c.Journal.SetDomain(d.Domain)
	if err != nil && !d.unwritten {
		c.Log.Error("journal not written", "domain", d.UUID, "error", err)
	}
	d.unwritten = err != nil
}

// look asks libvirt for one domain; what it shows is said to the manager.
func (c *Core) look(d *domain, now time.Time) {
	if d.looking {
		d.again = true
		return
	}
	if !c.libvirt.up {
		return
	}
	d.looking, d.again = true, false
	began := c.step
	c.Hands.Look(d.UUID, func(now time.Time, s Seen, err error) {
		c.step++
		d.looking = false
		if err != nil && !virt.IsNoDomain(err) {
			c.Log.Warn("domain not seen", "domain", d.UUID, "error", err)
			if c.reports.made {
				c.reports.failed = err // a report without it would not be complete
			}
			c.later(now.Add(lookAgain), func(now time.Time) { c.look(d, now) })
			c.reportIfReady(now)
			return
		}
		c.saw(d, s, err == nil, began, now)
		if d.again || !d.fresh() {
			c.look(d, now)
			return
		}
		c.sight(d)
		c.reportIfReady(now)
	})
}

// saw takes what libvirt showed at or after the step at which the look began.
func (c *Core) saw(d *domain, s Seen, known bool, began uint64, now time.Time) {
	if began < d.began {
		return
	}
	d.seen, d.known, d.began = s, known, began
	if !d.fresh() {
		return
	}
	c.observeStarts(d)
	c.observeDeparture(d, now)
	c.observeArrival(d, now)
	c.schedule(d, now)
}

// poll is when a domain is looked at again without an event.
type poll struct {
	at    time.Time // zero: not planned
	every time.Duration
	soon  time.Time // until then the looks come close together
	// follow counts looks that still come after a resumption: the CPU time must
	// be seen to grow.
	follow int
}

// Looking again: close together after something that an event announces a
// little too early, else ever more seldom; and once per second while a move is
// under way.
const (
	pollHurried  = 2 * time.Millisecond
	pollFirst    = 250 * time.Millisecond
	pollMost     = time.Second
	hurriedMost  = 8 * time.Millisecond
	hurriedFor   = time.Second
	pollDeparted = time.Second
	lookAgain    = time.Second // after libvirt did not answer
	followEvery  = 40 * time.Millisecond
	followLooks  = 5
)

// hurry brings the looks close together for a while.
func (d *domain) hurry(now time.Time) {
	d.poll.soon, d.poll.every = now.Add(hurriedFor), 0
}

// backoff doubles the distance, within what now allows.
func (d *domain) backoff(now time.Time) time.Duration {
	least, most := pollFirst, pollMost
	if now.Before(d.poll.soon) {
		least, most = pollHurried, hurriedMost
	}
	d.poll.every = min(max(2*d.poll.every, least), most)
	return d.poll.every
}

// schedule plans the next look, if the domain is in a state that ends without
// an event.
func (c *Core) schedule(d *domain, now time.Time) {
	var in time.Duration
	switch a := d.open(); {
	case d.poll.follow > 0:
		d.poll.follow--
		in = followEvery
	case d.exit.ended && !d.exit.decided:
		in = d.backoff(now)
	case len(d.Starts) > 0 && !d.starting:
		in = d.backoff(now)
	case a == nil:
	case a.Arrival != nil && d.copyOf(a.ID) && !a.Arrival.Complete && !a.Arrival.Resumed:
		in = d.backoff(now)
	case a.Departure != nil && a.Departure.Call == journal.CallOut:
		in = pollDeparted
	}
	if in == 0 {
		d.poll.at, d.poll.every = time.Time{}, 0
		return
	}
	at := now.Add(in)
	d.poll.at = at
	c.later(at, func(now time.Time) {
		if d.poll.at.Equal(at) { // no other look has planned anew
			d.poll.at = time.Time{}
			c.look(d, now)
		}
	})
}
