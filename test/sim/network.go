package sim

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
)

// reportInterval is what agents are told; anything urgent is asked for or shown
// at once.
const reportInterval = 60 * time.Second

// session is one connection between an agent and a manager. Each direction
// keeps its order; a break loses what is under way, and each side learns of it
// at its own time.
type session struct {
	s         *Sim
	st        *station
	life      int // of the agent
	house     *house
	term      int // of the manager
	id        string
	core      *manager.Session
	upAt      time.Duration
	downAt    time.Duration
	upLag     time.Duration // what messages take longer, until lagEnds
	downLag   time.Duration
	lagEnds   time.Duration
	broken    bool // nothing passes any more
	agentOver bool
	coreOver  bool
}

// dial lets an agent look for the manager until it has one.
func (s *Sim) dial(st *station, life int) {
	s.after(s.spread(5*time.Millisecond, 2*time.Second), "agent "+st.name, func() {
		h := s.answers(st)
		switch {
		case st.life != life || st.core == nil || st.link != nil:
			return
		case st.frozen || st.apart || h == nil:
			s.dial(st, life)
			return
		}
		hello := st.core.Hello()
		l := &session{s: s, st: st, life: life, house: h, term: h.term}
		st.link = l
		s.after(s.latency(), "manager", func() {
			if l.broken || h.term != l.term || !h.up() {
				l.breaks(s.latency(), s.latency())
				return
			}
			h.do(func() {
				l.core = h.core.Connect(h.now(), pki.Peer{Host: st.name, Serial: "serial-" + st.name}, hello, l)
			})
		})
	})
}

// answers is the manager that a host's agent finds, nil when it finds none.
func (s *Sim) answers(st *station) *house {
	if s.turns != nil {
		return s.follow(st)
	}
	if !s.house.up() || s.house.frozen {
		return nil
	}
	return s.house
}

// Send is the manager's end.
func (l *session) Send(m *agentv1.ManagerMessage) error {
	if l.coreOver || l.broken && l.agentOver {
		return errors.New("the session is over")
	}
	say := func(m *agentv1.ManagerMessage) error {
		l.says(m)
		if l.house.stopped() {
			l.house.outbox = append(l.house.outbox, letter{l, m})
		} else {
			l.leave(m)
		}
		return nil
	}
	if l.house.stopped() { // before this, in the middle of an input
		return say(m)
	}
	return serve.WhileLeading(l.house.stands, say)(m)
}

// says holds what a manager has to say against the rules.
func (l *session) says(m *agentv1.ManagerMessage) {
	s := l.s
	if w := m.GetWelcome(); w.GetSession() != "" {
		w.ReportInterval = durationpb.New(reportInterval)
	}
	if o := m.GetOrder(); o != nil {
		s.say("manager: orders %s of %s: %s %s epoch %d", o.GetId(), l.st.name, kind(o), nameOf(o.GetDomain()), o.GetEpoch())
		s.house.sent = append(s.house.sent, sentOrder{l.st, o})
		if len(s.house.sent) > 200 {
			s.house.sent = s.house.sent[1:]
		}
	}
	if o := m.GetOrder(); o.GetDomain() != "" {
		s.house.inRecovery("%s is ordered to %s %s", l.st.name, kind(o), nameOf(o.GetDomain()))
	}
	if o := m.GetOrder(); o != nil {
		s.cued(o.GetDomain(), orders+juncture(kind(o)), l.st)
	}
	if o := m.GetOrder(); o.GetConfirm() != nil || o.GetResume() != nil || o.GetSettle() != nil {
		s.house.gave[permission{l.st.name, o.GetDomain(), o.GetEpoch()}] = o.GetBootId()
	}
	if a := m.GetPermission(); a.GetGranted() {
		s.house.gave[permission{l.st.name, a.GetDomain(), a.GetEpoch()}] = a.GetBootId()
	}
	if o := m.GetOrder(); o.GetConfirm() != nil {
		l.permits(o.GetDomain(), o.GetEpoch(), o.GetSession())
	}
	if a := m.GetPermission(); a.GetGranted() {
		s.say("manager: permits %s on %s, epoch %d", nameOf(a.GetDomain()), l.st.name, a.GetEpoch())
		l.permits(a.GetDomain(), a.GetEpoch(), a.GetSession())
		s.house.permitted = append(s.house.permitted, m)
		s.cued(a.GetDomain(), permits, l.st)
	}
}

// leave puts a message on its way to the agent.
func (l *session) leave(m *agentv1.ManagerMessage) {
	s := l.s
	if h := l.house; h.seat != nil && !h.lead.Holds() && !h.late {
		s.fail("%s answers %s in term %d, whose lease has ended", h.who(), l.st.name, h.lead.Identity().Term)
	}
	now := s.fleet.Now()
	l.downAt = max(l.downAt, now+s.latency()+l.lag(l.downLag))
	s.after(l.downAt-now, "agent "+l.st.name, func() {
		if !l.broken && !l.agentOver {
			l.st.do(func() { l.arrives(m) })
		}
	})
}

// lag is what a direction takes longer now.
func (l *session) lag(d time.Duration) time.Duration {
	if l.s.fleet.Now() >= l.lagEnds {
		return 0
	}
	return d
}

// permits: every permission is a write with an epoch of its own, and one that was
// only read could be undone by what is still under way.
func (l *session) permits(domain string, epoch uint64, session string) {
	p := permission{l.st.name, domain, epoch}
	if before, told := l.s.house.told[p]; told && before != session {
		l.s.fail("%s is permitted %s with epoch %d in session %s: it was in session %s, and nothing was written since", l.st.name, nameOf(domain), epoch, session, before)
	}
	l.s.house.told[p] = session
	if c := l.s.house.ledger.claims[domain]; c.Epoch != epoch || c.Holder != l.st.name && c.Target != l.st.name {
		l.s.fail("%s is permitted %s with epoch %d: the store says %s by %s, epoch %d", l.st.name, nameOf(domain), epoch, c.Phase, c.Holder, c.Epoch)
	}
}

// arrives takes a message into the agent; it may have waited in a frozen one.
func (l *session) arrives(m *agentv1.ManagerMessage) {
	s, st := l.s, l.st
	if st.link != l || l.agentOver {
		return
	}
	switch {
	case m.GetWelcome() != nil:
		if err := st.core.Opened(m.GetWelcome(), st.now()); err != nil {
			s.say("%s: %v", st.name, err)
			l.breaks(0, s.latency())
			return
		}
		l.id, st.since = m.GetWelcome().GetSession(), s.fleet.Now()
		s.say("%s: session %s", st.name, l.id)
	case m.GetOrder() != nil:
		st.hear(m.GetOrder())
	default:
		st.core.Received(m, st.now())
	}
}

// up carries a message to the manager.
func (l *session) up(m *agentv1.AgentMessage) {
	s := l.s
	now := s.fleet.Now()
	if q := m.GetPermission(); q != nil {
		s.cued(q.GetDomain().GetUuid(), asks, l.st)
	}
	l.upAt = max(l.upAt, now+s.latency()+l.lag(l.upLag))
	s.after(l.upAt-now, "manager", func() {
		if h := l.house; !l.broken && !l.coreOver && h.term == l.term {
			h.do(func() {
				if !l.coreOver && l.core != nil {
					if m.GetReport().GetLibvirtd() {
						delete(h.unheard, l.st.name)
					}
					h.core.Received(h.now(), l.core, m)
				}
			})
		}
	})
}

// Close is the manager's end too.
func (l *session) Close(reason error) {
	l.s.after(l.s.latency(), "manager", func() { l.breaks(l.s.latency(), 0) })
}

// breaks ends the connection: nothing passes any more, and the sides learn it
// after these times.
func (l *session) breaks(agent, core time.Duration) {
	if l.broken {
		return
	}
	l.broken = true
	s := l.s
	s.after(agent, "agent "+l.st.name, func() { l.agentLearns() })
	s.after(core, "manager", func() { l.coreLearns() })
}

func (l *session) agentLearns() {
	st := l.st
	if l.agentOver {
		return
	}
	if st.frozen && st.life == l.life {
		st.held = append(st.held, l.agentLearns)
		return
	}
	l.agentOver = true
	if st.life != l.life || st.link != l {
		return
	}
	st.link = nil
	if l.id != "" {
		l.s.say("%s: session %s is over", st.name, l.id)
		st.do(func() { st.core.Closed(l.st.now()) })
	}
	l.s.dial(st, l.life)
}

func (l *session) coreLearns() {
	if l.coreOver {
		return
	}
	h := l.house
	if h.term != l.term || !h.up() {
		l.coreOver = true
		return
	}
	h.do(func() {
		if !l.coreOver && l.core != nil {
			h.core.Closed(h.now(), l.core, errors.New("the connection broke"))
		}
		l.coreOver = true
	})
}

// agentGone: the agent's process ended; the manager's side learns it, soon when
// the host's kernel says so, late when the host is gone as well.
func (l *session) agentGone() {
	l.agentOver = true
	wait := l.s.latency()
	if l.s.chance(0.2) {
		wait = l.s.between(time.Second, 12*time.Second)
	}
	l.breaks(0, wait)
}

// cutOff breaks a host's session as a network does: nobody says goodbye.
func (s *Sim) cutOff(st *station) {
	if st.link != nil {
		st.link.breaks(s.spread(time.Millisecond, 12*time.Second), s.spread(time.Millisecond, 12*time.Second))
	}
}
