package manager

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// orderKey names what is wanted of a host; there is at most one order for it.
type orderKey struct {
	host, domain, attempt, kind string
}

// The kinds of orders beside those of a move, which are migration.Order's.
const (
	orderConfirm = "confirm"
	orderRelease = "release"
	orderTakes   = "take nothing"
)

// order is one that was sent in the present session of its host. Orders are not
// kept: a new session, or a new manager, sends again what is still wanted.
type order struct {
	id      string
	key     orderKey
	session *Session
	epoch   uint64
	body    *agentv1.Order
	sent    time.Time

	outcome  agentv1.Outcome // UNSPECIFIED while it is under way
	reason   string
	answered time.Time
}

// orders are those of the present sessions.
type orders struct {
	wanted map[orderKey]*order
	byID   map[string]*order
}

// tell sends an order unless it is under way already. It is sent again when its
// answer is overdue, and made anew when an answered one had no effect; asked for
// in every pass, it does nothing in most of them.
func (c *Core) tell(h *host, key orderKey, epoch uint64, body *agentv1.Order, now time.Time) (sent bool) {
	if h.session == nil || !h.alive() {
		return false
	}
	o := c.orders.wanted[key]
	switch {
	case o != nil && o.session == h.session && o.epoch == epoch && o.outcome == agentv1.Outcome_OUTCOME_UNSPECIFIED:
		if now.Sub(o.sent) < c.pol.Pace.Answer {
			return false
		}
		// Lost or slow: the same order again, which an agent obeys once.
	case o != nil && o.session == h.session && o.epoch == epoch && now.Sub(o.answered) < c.pol.Pace.Again:
		return false
	default:
		if o != nil {
			delete(c.orders.byID, o.id)
		}
		body = proto.CloneOf(body)
		body.Id = c.newID("o")
		body.Generation, body.Term, body.Epoch = c.id.Generation, c.id.Term, epoch
		body.BootId, body.Session = h.session.boot, h.session.id
		body.Domain, body.Attempt = key.domain, key.attempt
		o = &order{id: body.Id, key: key, session: h.session, epoch: epoch, body: body}
		c.orders.wanted[key] = o
		c.orders.byID[o.id] = o
	}
	o.sent = now
	c.send(h.session, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Order{Order: o.body}})
	c.log.Debug("order", "host", key.host, "domain", key.domain, "migration", key.attempt, "order", key.kind, "epoch", epoch)
	return true
}

// result takes the answer to an order. It says that the agent has heard it and
// what it refused; what became true comes with sightings.
func (c *Core) result(now time.Time, s *Session, r *agentv1.OrderResult) {
	o := c.orders.byID[r.GetOrder()]
	if o == nil || o.session != s || o.outcome != agentv1.Outcome_OUTCOME_UNSPECIFIED {
		return // of an earlier session, or answered already
	}
	o.outcome, o.reason, o.answered = r.GetOutcome(), r.GetReason(), now
	failed := o.outcome == agentv1.Outcome_OUTCOME_REFUSED || o.outcome == agentv1.Outcome_OUTCOME_FAILED
	if failed {
		c.log.Warn("order not obeyed", "host", o.key.host, "domain", o.key.domain, "migration", o.key.attempt, "order", o.key.kind, "reason", o.reason)
	}
	if m := c.moves[o.key.attempt]; m != nil {
		c.answered(m, o, failed, now)
		c.conduct(m, now)
	}
	switch o.key.kind {
	case orderTakes + " on", orderTakes + " off":
		c.ask(s.host) // its promise counts with a complete report
	case orderRelease:
		if o.outcome == agentv1.Outcome_OUTCOME_DONE {
			c.released(s.host, o, now)
		}
	case orderConfirm:
		if cl := c.claims[o.key.domain]; cl != nil && o.outcome == agentv1.Outcome_OUTCOME_DONE && cl.Epoch == o.epoch {
			cl.confirmed = s
		}
	}
	c.paid(o, now)
	c.fill(now)
}

// answered takes what the answer means for a move.
func (c *Core) answered(m *move, o *order, failed bool, now time.Time) {
	m.failing = ""
	if !failed {
		return
	}
	why := cmp.Or(o.reason, "no reason given")
	switch migration.Order(o.key.kind) {
	case migration.Prepare:
		m.step(now, "target refused", why)
		c.giveUp(m, m.row.Target+" refused: "+why, now)
	case migration.Move:
		m.step(now, "source refused", why)
		c.giveUp(m, m.row.Source+" refused: "+why, now)
	default:
		m.saw(now, o.key.kind+" not obeyed by "+o.key.host, why)
		m.failing = o.key.kind + " not obeyed by " + o.key.host + ": " + why
		if o.key.kind == string(migration.Settle) && o.key.host == m.row.Source && o.outcome == agentv1.Outcome_OUTCOME_REFUSED && m.row.State == migration.Committing {
			m.leftover = true
			c.event(now, store.Event{Kind: "definition.kept", Severity: store.Warning, Host: o.key.host, Domain: o.key.domain, Migration: o.key.attempt, Text: why})
		}
		if h := c.hosts[o.key.host]; h != nil {
			c.ask(h)
		}
	}
}

// forgetOrders drops what was sent in a session that is over.
func (c *Core) forgetOrders(s *Session) {
	for key, o := range c.orders.wanted {
		if o.session == s {
			delete(c.orders.wanted, key)
			delete(c.orders.byID, o.id)
		}
	}
}

// forgetOrdersOf drops those of an attempt that has ended, unless they are owed.
func (c *Core) forgetOrdersOf(attempt string) {
	for key, o := range c.orders.wanted {
		if key.attempt == attempt {
			delete(c.orders.wanted, key)
			delete(c.orders.byID, o.id)
		}
	}
}

// body is an order of a move, as the wire has it.
func (c *Core) body(m *move, kind migration.Order, to migration.Side) *agentv1.Order {
	row := &m.row
	source, target := c.hosts[row.Source], c.hosts[row.Target]
	switch kind {
	case migration.Prepare:
		p := &agentv1.Prepare{Source: row.Source, Xml: row.Before.XML}
		if w := source.word(row.Domain); w != nil {
			p.Domain = w.Domain
		}
		return &agentv1.Order{Body: &agentv1.Order_Prepare{Prepare: p}}
	case migration.Move:
		o := row.Options
		mv := &agentv1.Move{
			Target: row.Target, PeerUri: target.Facts.PeerURI, MigrateUri: target.Facts.MigrateURI,
			Switchover: agentv1.Switchover_SWITCHOVER_GUARDED, Bandwidth: o.Bandwidth, AutoConverge: o.AutoConverge, PostCopy: o.PostCopy,
			Parallel: uint32(o.Parallel), CopyDisks: o.CopyDisks, Persistent: row.Before.Persistent,
		}
		if row.Switchover == migration.Direct {
			mv.Switchover = agentv1.Switchover_SWITCHOVER_DIRECT
		}
		if o.MaxDowntime > 0 {
			mv.MaxDowntime = durationpb.New(o.MaxDowntime)
		}
		return &agentv1.Order{Body: &agentv1.Order_Move{Move: mv}}
	case migration.Abort:
		return &agentv1.Order{Body: &agentv1.Order_Abort{Abort: &agentv1.Abort{}}}
	case migration.Resume:
		return &agentv1.Order{Body: &agentv1.Order_Resume{Resume: &agentv1.Resume{}}}
	case migration.ResumeOwn:
		return &agentv1.Order{Body: &agentv1.Order_ResumeOwn{ResumeOwn: &agentv1.ResumeOwn{}}}
	case migration.DestroyOwn:
		return &agentv1.Order{Body: &agentv1.Order_DestroyOwn{DestroyOwn: &agentv1.DestroyOwn{}}}
	case migration.Settle:
		return settleBody(to == migration.Target, row.Before.Autostart, row.Before.InactiveXML)
	}
	return voidBody()
}

func voidBody() *agentv1.Order {
	return &agentv1.Order{Body: &agentv1.Order_Void{Void: &agentv1.Void{}}}
}

func settleBody(keep, autostart bool, definition string) *agentv1.Order {
	s := &agentv1.Settle{Keep: keep}
	if keep {
		s.Autostart, s.Definition = autostart, definition
	}
	return &agentv1.Order{Body: &agentv1.Order_Settle{Settle: s}}
}

// tellSide gives a move's order to one of its sides.
func (c *Core) tellSide(m *move, act migration.Action, now time.Time) {
	name := m.row.Source
	if act.To == migration.Target {
		name = m.row.Target
	}
	h := c.hosts[name]
	if h == nil {
		return
	}
	epoch := m.row.Epoch
	if cl := c.claims[m.row.Domain]; cl != nil {
		epoch = cl.Epoch
	}
	key := orderKey{name, m.row.Domain, m.row.ID, string(act.Order)}
	if c.tell(h, key, epoch, c.body(m, act.Order, act.To), now) {
		m.told(now, act, name)
		return
	}
	// Answered, and still wanted: look whether it had its effect.
	if o := c.orders.wanted[key]; o != nil && o.outcome != agentv1.Outcome_OUTCOME_UNSPECIFIED {
		c.look(m, h, now)
	}
}

// look asks a host whose word a move waits for, at its pace.
func (c *Core) look(m *move, h *host, now time.Time) {
	if now.Sub(m.looked[h.Name]) < c.pol.Pace.Look || !h.alive() {
		return
	}
	m.looked[h.Name] = now
	c.ask(h)
}

// reconcileTakes tells a host whether it may take something new, until it has
// promised what is wanted.
func (c *Core) reconcileTakes(h *host, now time.Time) {
	want := h.State == store.Evacuating || h.State == store.Drained || h.State == store.Maintenance
	if !h.alive() || h.takes == want {
		return
	}
	c.tell(h, orderKey{host: h.Name, kind: orderTakes + map[bool]string{true: " on", false: " off"}[want]}, 0,
		&agentv1.Order{Body: &agentv1.Order_TakeNothing{TakeNothing: &agentv1.TakeNothing{On: want}}}, now)
}
