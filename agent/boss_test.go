package agent

import (
	"fmt"
	"strings"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
)

// boss is the smallest manager that follows the table: one guest, one move.
type boss struct {
	w       *world
	row     migration.Row
	epoch   uint64
	holder  string
	end     migration.End
	state   migration.State
	why     string
	away    bool
	orders  int
	waiting map[string]*asked // by host, the order that has no answer yet
	ask     map[string]uint64
	word    map[string]string // what decides of the last word
	fresh   map[string]uint64 // the Ask that came after the other side's last word
	session map[string]string
	cpu     map[string]time.Duration
	moving  map[string]bool
	owed    bool
	twice   bool // gives every order a second time under another id
	alarmed bool
	ends    []migration.End
}

type asked struct {
	order   *agentv1.Order
	session string
	again   time.Time
}

func newBoss(w *world, source, target string) *boss {
	b := &boss{
		w: w, epoch: 10, holder: source, waiting: map[string]*asked{}, ask: map[string]uint64{},
		word: map[string]string{}, fresh: map[string]uint64{}, session: map[string]string{}, cpu: map[string]time.Duration{}, moving: map[string]bool{},
		row: migration.Row{
			ID: "attempt-1", Domain: guest, Source: source, Target: target, State: migration.Claimed,
			Switchover: migration.Guarded, Epoch: 11,
		},
	}
	for _, s := range w.hosts {
		s.open(1)
	}
	if r := w.hosts[source].order(&agentv1.Order{Id: "confirm", Epoch: b.epoch, Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}}); r.GetOutcome() != agentv1.Outcome_OUTCOME_DONE {
		w.t.Fatalf("confirm: %v", r)
	}
	d := w.hosts[source].sees()
	b.row.Before = migration.Before{
		Persistent: d.GetPersistent(), Autostart: d.GetAutostart(),
		Paused: d.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED,
	}
	b.epoch = 11 // transferring
	w.after = append(w.after, b.act)
	return b
}

// copyOf is a host's word as the table takes it.
func (b *boss) copyOf(host string, side migration.Side) migration.Copy {
	s := b.w.hosts[host]
	d := s.last[guest]
	if s.core == nil || s.session == "" || len(s.reports) == 0 || s.silent {
		return migration.Copy{}
	}
	if d == nil {
		d = &agentv1.Domain{State: agentv1.DomainState_DOMAIN_STATE_NONE}
	}
	c := migration.Copy{Job: d.GetJob() != nil, Complete: d.GetComplete(), Moving: b.moving[host]}
	switch d.GetState() {
	case agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED:
		return migration.Copy{}
	case agentv1.DomainState_DOMAIN_STATE_NONE, agentv1.DomainState_DOMAIN_STATE_SHUTOFF:
		c.Presence = migration.None
	case agentv1.DomainState_DOMAIN_STATE_PAUSED:
		c.Presence = migration.Paused
		switch d.GetPause() {
		case agentv1.Pause_PAUSE_GUARD:
			c.Pause = migration.ByGuard
		case agentv1.Pause_PAUSE_MOVE:
			c.Pause = migration.ByMove
		case agentv1.Pause_PAUSE_OWNER:
			c.Pause = migration.ByOwner
			if side == migration.Source {
				c.Presence = migration.Alive
			}
		}
	default:
		c.Presence = migration.Alive
	}
	if d.GetAttempt() == b.row.ID {
		switch d.GetGone() {
		case agentv1.Gone_GONE_BY_THE_MOVE:
			c.Gone = migration.GoneByMove
		case agentv1.Gone_GONE_OTHERWISE:
			c.Gone = migration.GoneOtherwise
		case agentv1.Gone_GONE_NOBODY_KNOWS:
			c.Gone = migration.GoneUnexplained
		}
		switch d.GetCall() {
		case agentv1.Call_CALL_OUT:
			c.Call = migration.CallOut
		case agentv1.Call_CALL_ENDED:
			c.Call = migration.CallEnded
		}
		c.Void = d.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_VOID
		c.Prepared = d.GetRole() == agentv1.Role_ROLE_TARGET && !c.Void
	}
	if side == migration.Target {
		c.Settled = d.GetPersistent() == b.row.Before.Persistent && d.GetAutostart() == b.row.Before.Autostart
	} else {
		c.Settled = d.GetState() == agentv1.DomainState_DOMAIN_STATE_NONE
	}
	if n := len(s.reports); b.fresh[host] > 0 && s.reports[n-1].GetAsked() >= b.fresh[host] {
		c.Fresh = true
	}
	return c
}

func (b *boss) act() {
	if b.away || b.row.State.Ended() {
		return
	}
	for _, h := range []string{b.row.Source, b.row.Target} {
		other := b.row.Target
		if h == other {
			other = b.row.Source
		}
		s := b.w.hosts[h]
		d := s.sees()
		if s.session != b.session[h] {
			b.session[h], b.fresh[h] = s.session, 0
		}
		word := fmt.Sprint(d.GetState(), d.GetGone(), d.GetCall(), d.GetAttemptState())
		if word != b.word[h] {
			b.word[h] = word
			b.fresh[other] = 0
		}
		if cpu := d.GetCpuTime().AsDuration(); cpu > 0 {
			b.moving[h] = b.cpu[h] > 0 && cpu > b.cpu[h] || b.moving[h]
			b.cpu[h] = cpu
		}
		if x := b.waiting[h]; x != nil {
			switch r := s.results[x.order.GetId()]; {
			case r != nil && r.GetOutcome() == agentv1.Outcome_OUTCOME_BEGUN, r != nil && r.GetOutcome() == agentv1.Outcome_OUTCOME_DONE:
				delete(b.waiting, h)
			case x.session != s.session, !x.again.After(b.w.now()) && r != nil:
				delete(b.waiting, h)
			}
		}
	}
	src, dst := b.copyOf(b.row.Source, migration.Source), b.copyOf(b.row.Target, migration.Target)
	a := migration.Next(b.row, src, dst)
	b.state, b.why = a.State, a.Why
	b.alarmed = b.alarmed || a.Line > 0 && a.Alarm
	host := b.row.Source
	if a.To == migration.Target {
		host = b.row.Target
	}
	switch a.Do {
	case migration.Tell:
		b.tell(host, a)
	case migration.Ask:
		if b.fresh[host] == 0 && b.w.hosts[host].session != "" {
			b.ask[host]++
			b.fresh[host] = b.ask[host]
			s := b.w.hosts[host]
			b.w.logf("%s: ask %d (%s)", host, b.ask[host], a.Why)
			s.do(func() {
				s.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Ask{Ask: &agentv1.Ask{Id: b.ask[host]}}}, b.w.now())
			})
		}
	case migration.Commit:
		b.commit(a)
	case migration.Finish:
		b.row.State, b.row.Outcome = a.State, a.Why
		b.w.logf("row %s: %s", a.State, a.Why)
	}
}

func (b *boss) commit(a migration.Action) {
	b.w.logf("commit %s, line %d: %s", a.End, a.Line, a.Why)
	b.epoch++
	b.ends = append(b.ends, a.End)
	b.end, b.row.State, b.owed = a.End, a.State, a.Owed
	switch a.End {
	case migration.HeldByTarget:
		b.holder = b.row.Target
	case migration.HeldBySource:
		b.row.Outcome = a.Why
	case migration.Released:
		b.holder, b.row.Outcome = "", a.Why
	default:
		b.w.t.Fatalf("commit %s: %s", a.End, a.Why)
	}
}

func (b *boss) tell(host string, a migration.Action) {
	s := b.w.hosts[host]
	if b.waiting[host] != nil || s.session == "" {
		return
	}
	for range 2 {
		b.orders++
		o := &agentv1.Order{Id: fmt.Sprintf("o%d", b.orders), Epoch: b.epoch, Attempt: b.row.ID}
		switch a.Order {
		case migration.Prepare:
			o.Body = &agentv1.Order_Prepare{Prepare: &agentv1.Prepare{Source: b.row.Source, Domain: b.w.hosts[b.row.Source].sees()}}
		case migration.Move:
			o.Body = &agentv1.Order_Move{Move: &agentv1.Move{
				Target: b.row.Target, PeerUri: b.w.fleet.Host(b.row.Target).URI(), Switchover: agentv1.Switchover_SWITCHOVER_GUARDED,
			}}
		case migration.Abort:
			o.Body = &agentv1.Order_Abort{Abort: &agentv1.Abort{}}
		case migration.Resume:
			o.Body = &agentv1.Order_Resume{Resume: &agentv1.Resume{}}
		case migration.Void:
			o.Body = &agentv1.Order_Void{Void: &agentv1.Void{}}
		case migration.ResumeOwn:
			o.Body = &agentv1.Order_ResumeOwn{ResumeOwn: &agentv1.ResumeOwn{}}
		case migration.DestroyOwn:
			o.Body = &agentv1.Order_DestroyOwn{DestroyOwn: &agentv1.DestroyOwn{}}
		case migration.Settle:
			o.Body = &agentv1.Order_Settle{Settle: &agentv1.Settle{Keep: a.To == migration.Target, Autostart: b.row.Before.Autostart}}
		default:
			b.w.t.Fatalf("order %q", a.Order)
		}
		b.waiting[host] = &asked{order: o, session: s.session, again: b.w.now().Add(200 * time.Millisecond)}
		s.give(o)
		if !b.twice {
			return
		}
	}
}

// close settles what the row leaves owed: the claim is confirmed where it is,
// and nothing is left on the other side.
func (b *boss) close() {
	b.w.t.Helper()
	if b.end != migration.HeldBySource {
		return
	}
	b.epoch++
	b.surely(b.row.Source, &agentv1.Order{Id: "back", Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}})
	if b.owed {
		b.surely(b.row.Target, &agentv1.Order{Id: "owed", Body: &agentv1.Order_Void{Void: &agentv1.Void{}}})
	}
	b.surely(b.row.Target, &agentv1.Order{Id: "away", Body: &agentv1.Order_Settle{Settle: &agentv1.Settle{}}})
}

// surely gives an order until it is done, also over the death of the agent.
func (b *boss) surely(host string, o *agentv1.Order) {
	b.w.t.Helper()
	s := b.w.hosts[host]
	if o.GetConfirm() == nil {
		o.Attempt = b.row.ID
	}
	o.Epoch = b.epoch
	for range 20 {
		b.w.until("a session with "+host, func() bool { return s.session != "" })
		o.Session = ""
		switch r := s.order(o); r.GetOutcome() {
		case agentv1.Outcome_OUTCOME_DONE:
			return
		case agentv1.Outcome_OUTCOME_UNSPECIFIED: // it died
		case agentv1.Outcome_OUTCOME_FAILED: // its libvirtd is away
			b.w.pass(10 * time.Second)
			o.Id += "+"
		default:
			b.w.t.Fatalf("%s on %s: %v", kind(o), host, r)
		}
	}
	b.w.t.Fatalf("%s on %s: never done", kind(o), host)
}

// rightly checks the end of a move: the guest runs once, where its claim is,
// with its definition and autostart there and nothing of it anywhere else.
func (b *boss) rightly() {
	b.w.t.Helper()
	w := b.w
	b.close()
	w.pass(time.Second)
	if b.row.Outcome == "" {
		w.t.Errorf("row %s without a reason", b.row.State)
	}
	on := w.fleet.RunningOn(guest)
	if len(on) != 1 || on[0] != b.holder {
		w.t.Errorf("runs on %q, claim held by %q (%s: %s)", strings.Join(on, ","), b.holder, b.row.State, b.row.Outcome)
	}
	for _, n := range w.names {
		ds, err := w.hosts[n].conn().Domains(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		found := false
		for _, d := range ds {
			if d.UUID != guest {
				continue
			}
			found = true
			if n != b.holder {
				w.t.Errorf("%s still has the guest: %s (%s), persistent %t", n, d.State, d.Reason, d.Persistent)
			} else if d.Persistent != b.row.Before.Persistent || d.Autostart != b.row.Before.Autostart {
				w.t.Errorf("%s: persistent %t autostart %t, before the move %t %t", n, d.Persistent, d.Autostart, b.row.Before.Persistent, b.row.Before.Autostart)
			}
		}
		if !found && n == b.holder {
			w.t.Errorf("%s does not have the guest", n)
		}
	}
}
