package sim

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
	"github.com/vireo-kvm/vireo/test/etcdmodel"
)

// The times of store/etcd: a lease is renewed every sixth of it, and its holder
// counts it from before that was sent, less a tenth. etcd looks for leases that have
// ended twice a second.
const (
	leaseTime = 3 * time.Second
	renewal   = leaseTime / 6
	believed  = leaseTime - leaseTime/10
	endsFound = 500 * time.Millisecond
	// silence is how long an agent stays with a manager that says nothing.
	silence = 2 * time.Second
)

// turns are what several managers share.
type turns struct{ cluster *etcdmodel.Cluster }

// seat is a manager's place in the election.
type seat struct {
	name    string
	alive   bool          // its process runs
	lead    *etcdmodel.DB // its present lead, or the last; nil before the first
	network etcdmodel.Network
	hidden  map[string]bool // hosts whose agents do not reach it

	renewing bool          // the lease is renewed, again and again
	renewed  time.Duration // when it was for the last time, if not
	leases   int           // counts what ends the wait for a lease's end

	thaws  time.Duration // until when it is frozen
	works  bool          // it is at an input
	taken  bool          // frozen behind the look at the lease: the input is worked on when it goes on
	outbox []letter      // messages of an input in whose middle it was frozen
	late   bool          // one of them leaves, behind a look that was before the freeze
	ambush
}

// letter is a message that has not left yet.
type letter struct {
	to *session
	m  *agentv1.ManagerMessage
}

// ambush is what happens to a manager at a commit.
type ambush struct {
	in   int // commits until then; 0: never
	what string
}

// takeTurns makes several managers over one etcd.
func (s *Sim) takeTurns(n int) {
	s.turns = &turns{cluster: etcdmodel.New()}
	shared := newSpoken(s)
	for i := range n {
		name := fmt.Sprintf("m%d", i+1)
		h := newHouse(s, filepath.Join(s.opts.Dir, name+".db"))
		h.spoken, h.seat = shared, &seat{name: name, hidden: map[string]bool{}}
		s.houses = append(s.houses, h)
	}
	s.house = s.houses[0]
}

// who names the manager in the log.
func (h *house) who() string {
	if h.seat == nil {
		return "manager"
	}
	return "manager " + h.name
}

// rise starts a manager's process: it stands by.
func (h *house) rise() {
	if h.alive {
		return
	}
	db, err := sqlite.Open(context.Background(), h.path)
	if err != nil {
		h.s.fail("the readings of %s do not open: %v", h.name, err)
	}
	h.s.say("%s: stands by", h.who())
	h.db, h.alive, h.frozen = db, true, false
	if h.lead != nil && h.network == etcdmodel.Whole {
		h.lead.EndLease() // what the process before has left
	}
	h.s.elect()
}

// elect lets those who can stand for election do so.
func (s *Sim) elect() {
	s.after(s.spread(5*time.Millisecond, time.Second), "etcd", func() {
		var able []*house
		for _, h := range s.houses {
			if h.alive && !h.frozen && h.network == etcdmodel.Whole && h.core == nil {
				able = append(able, h)
			}
		}
		if len(able) > 0 && !s.turns.cluster.Held() {
			pick(s, able).wins()
		}
	})
}

// wins: it leads from now on.
func (h *house) wins() {
	db, err := h.s.turns.cluster.Campaign(h.name)
	if err != nil {
		h.s.fail("%s: %v", h.who(), err)
	}
	h.s.count("elections")
	h.lead, h.renewing, h.works, h.taken, h.outbox = db, true, false, false, nil
	h.leases++
	h.s.house = h
	if err := h.begin(&desk{db, h}); err != nil {
		h.s.fail("%s does not start: %v", h.who(), err)
	}
}

// stands says whether its lease stands, as far as it knows.
func (h *house) stands() bool {
	return h.seat == nil || h.lead.Leads() && (h.renewing || h.s.fleet.Now()-h.renewed < believed)
}

// stopped says whether it was frozen in the middle of an input: what that does is
// what it does when it goes on.
func (h *house) stopped() bool { return h.seat != nil && h.frozen }

// looks is the look at the lease before an input.
func (h *house) looks() bool {
	if h.seat != nil && h.taken {
		h.taken = false
		h.s.count("input taken before a freeze")
		return true
	}
	return h.stands()
}

// lapse: the lease is not renewed any more. It ends here, and later at etcd.
func (h *house) lapse() {
	if !h.renewing {
		return
	}
	s := h.s
	now := s.fleet.Now()
	h.renewing, h.renewed = false, now-s.between(0, renewal)
	h.leases++
	round, lead, term := h.leases, h.lead, h.term
	end := h.renewed + leaseTime + s.between(0, endsFound)
	if h.network == etcdmodel.Deaf { // renewals arrive for as long as it asks
		end += s.between(0, believed)
	}
	s.after(h.renewed+believed-now, "manager", func() { // it finds out by itself, if it is not frozen
		if h.leases == round && h.term == term {
			h.do(func() {})
		}
	})
	s.after(end-now, "etcd", func() {
		if h.leases == round {
			s.say("etcd: the lease of %s has ended", h.name)
			lead.EndLease()
			s.elect()
		}
	})
}

// renews: what has kept it from renewing its lease is over.
func (h *house) renews() {
	if h.core != nil && !h.renewing && !h.frozen && h.network == etcdmodel.Whole && h.stands() {
		h.renewing = true
		h.leases++
	}
}

// loses: it leads no more, and stands by.
func (h *house) loses(err error) {
	if h.frozen {
		return // in the middle of an input: it learns it when it goes on
	}
	if h.stands() {
		h.s.fail("%s gives up: %v", h.who(), err)
	}
	h.s.say("%s: the lead of term %d is lost: %v", h.who(), h.lead.Identity().Term, err)
	h.s.count("lead lost")
	h.drop()
	h.lapse()
	_ = h.lead.Close() // never fails
	h.outbox, h.taken = nil, false
	h.hangUp(true)
	h.s.elect()
}

// vanish: its process is gone, and its lease has to end by itself.
func (h *house) vanish() {
	h.lapse()
	h.alive, h.outbox, h.taken, h.in = false, nil, false, 0
}

// freeze stops the manager as SIGSTOP does.
func (h *house) freeze(d time.Duration) {
	s := h.s
	if h.seat == nil {
		s.after(d, "fault", h.thaw)
		h.frozen = h.up()
		return
	}
	if !h.alive || h.frozen {
		return
	}
	s.after(d, "fault", func() {
		if s.fleet.Now() >= h.thaws { // else it died, and was frozen again
			h.thaw()
		}
	})
	s.say("%s: freezes for %s", h.who(), d)
	h.frozen, h.thaws = true, s.fleet.Now()+d
	if h.core == nil {
		return
	}
	h.taken = !h.works && s.chance(0.5)
	h.lapse()
	for _, st := range s.hosts { // agents do not wait for one that says nothing
		l := st.link
		if l == nil || l.house != h {
			continue
		}
		wait := silence + s.latency()
		if s.chance(0.3) {
			wait += s.between(0, 12*time.Second)
		}
		s.after(wait, "agent "+st.name, func() {
			if h.frozen {
				l.breaks(0, s.spread(time.Millisecond, 12*time.Second))
			}
		})
	}
}

// awakes: one that stands by goes on.
func (h *house) awakes() {
	if h.frozen && h.core == nil {
		h.s.say("%s: thaws", h.who())
		h.frozen = false
		h.s.elect()
	}
}

// goesOn: one that leads, or believes so, goes on. What it had in its hands for an
// agent leaves, if its lease stands; a stop between that look and the call behind
// it lets the first message leave all the same.
func (h *house) goesOn() {
	s := h.s
	h.renews()
	out := h.outbox
	h.outbox = nil
	for i, l := range out {
		leave := func(m *agentv1.ManagerMessage) error {
			l.to.leave(m)
			return nil
		}
		h.late = i == 0 && !h.stands() && s.chance(0.5)
		if h.late {
			s.count("message of an overtaken manager")
			s.say("%s: a message of term %d leaves late for %s", h.who(), h.lead.Identity().Term, l.to.st.name)
			_ = leave(l.m)
		} else {
			_ = serve.WhileLeading(h.stands, leave)(l.m) // the session is over with the lead
		}
	}
	h.late = false
	if h.taken && s.chance(0.7) { // else it was the first that waits
		h.do(func() { h.core.Tick(h.now()) })
	}
	term := h.term
	s.after(s.between(0, 100*time.Millisecond), "manager", func() {
		if h.term == term {
			h.do(func() {})
		}
	})
}

// whole ends all that is wrong with the manager.
func (h *house) whole() {
	if h.seat != nil {
		h.in = 0
		clear(h.hidden)
		h.mend()
	}
	h.thaw()
	h.start()
}

// cut does something to its connection to etcd.
func (h *house) cut(n etcdmodel.Network, d time.Duration) {
	h.network = n
	if h.lead != nil {
		h.lead.Network(n)
	}
	h.lapse()
	h.s.after(d, "fault", h.mend)
}

// mend gives it its connection to etcd back.
func (h *house) mend() {
	if h.network == etcdmodel.Whole {
		return
	}
	h.network = etcdmodel.Whole
	if h.lead != nil {
		h.lead.Network(etcdmodel.Whole)
	}
	h.renews()
	h.s.elect()
}

// follow is the manager that an agent finds: who does not lead names the one who
// does, and who believes so answers.
func (s *Sim) follow(st *station) *house {
	var found []*house
	for _, h := range s.houses {
		if h.up() && !h.frozen && !h.hidden[st.name] {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return pick(s, found)
}

// desk is the store of one manager's lead, with what happens to it at commits.
type desk struct {
	*etcdmodel.DB
	h *house
}

func (d *desk) Update(ctx context.Context, f func(tx store.Tx) error) error {
	h, s := d.h, d.h.s
	if h.stopped() && h.thaws >= h.renewed+believed { // in the middle of this input: this is after the thaw
		return fmt.Errorf("frozen until after the lease: %w", store.ErrFenced)
	}
	what := h.sprung()
	switch what {
	case loseRequest:
		h.cut(etcdmodel.Cut, s.aroundLease())
	case loseAnswer:
		h.cut(etcdmodel.Deaf, s.aroundLease())
	}
	err := h.ledger.update(f, func(f func(tx store.Tx) error) (bool, error) {
		cluster, leads := s.turns.cluster, d.Holds()
		was := cluster.Revision()
		err := d.DB.Update(ctx, f)
		happened := cluster.Revision() != was
		if happened && !leads {
			s.fail("%s writes in term %d, whose lease has ended", h.who(), d.Identity().Term)
		}
		return happened, err
	})
	if what == freezeAtCommit {
		h.freeze(s.aroundLease())
	}
	return err
}

// What an ambush does.
const (
	loseRequest    = "lose a commit"
	loseAnswer     = "lose the answer to a commit"
	freezeAtCommit = "freeze manager at a commit"
)

// sprung counts commits, and says what happens at this one.
func (h *house) sprung() (what string) {
	if h.in == 1 {
		what = h.what
		h.s.say("%s: fault: %s", h.who(), what)
		h.s.count(what + ": now")
	}
	h.in = max(0, h.in-1)
	return what
}

// managerFaults are those that a world of several managers has, besides the others.
var managerFaults = []string{
	"kill manager", "freeze manager", "freeze manager", "stop manager", "cut manager off", "cut manager off", "hide manager",
	loseRequest, loseAnswer, loseAnswer, freezeAtCommit, freezeAtCommit,
}

// aroundLease is a time of any length, often not far from a lease's.
func (s *Sim) aroundLease() time.Duration {
	if s.chance(0.5) {
		return s.between(leaseTime-time.Second, 3*leaseTime)
	}
	return s.spread(100*time.Millisecond, 80*time.Second)
}

// overtaken freezes the manager while it tells a host something about a guest's
// move, until another one may lead; in a world of one manager, nothing happens but
// the move.
func (s *Sim) overtaken(g *guest, st *station) {
	at := pick(s, []juncture{orders + "Prepare", orders + "Move", orders + "Resume", orders + "Resume", orders + "Void", orders + "Settle", orders + "Release", orders + "Confirm", permits})
	s.cue(g, at, nil, func(*station) { s.house.freeze(s.aroundLease()) })
	s.evacuate(st)
}

// strikeManager lets one of them happen, mostly to the one that leads.
func (s *Sim) strikeManager(f string) {
	h := s.house
	if s.chance(0.1) {
		h = pick(s, s.houses)
	}
	switch f {
	case "kill manager":
		h.die()
	case "freeze manager":
		h.freeze(s.aroundLease())
	case "stop manager": // in order: it gives the lead away
		h.do(func() { h.core.Stop(h.now()) })
		if h.up() && !h.frozen {
			_ = h.lead.Close() // never fails
			s.elect()
			h.die()
		}
	case "cut manager off":
		h.cut(pick(s, []etcdmodel.Network{etcdmodel.Cut, etcdmodel.Deaf}), s.aroundLease())
	case "hide manager":
		for _, st := range s.hosts {
			if s.chance(0.6) {
				h.hidden[st.name] = true
				if st.link != nil && st.link.house == h {
					s.cutOff(st)
				}
			}
		}
		s.after(s.spread(500*time.Millisecond, 80*time.Second), "fault", func() { clear(h.hidden) })
	case loseRequest, loseAnswer, freezeAtCommit:
		h.ambush = ambush{1 + s.rng.IntN(6), f}
	}
}
