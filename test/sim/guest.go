package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// guest is a domain and what its users have done to it.
type guest struct {
	name, uuid string
	memory     uint64 // KiB
	autostart  bool
	paused     bool          // by its owner
	started    time.Duration // when a user last started or resumed it
	// taint is what a user has done that may make it run twice, or run old
	// memory, without vireo's doing. It ends when one process at most is left
	// and no move is open.
	taint string
	// byHand: a user has moved it; vireo answers for no definition any more.
	byHand bool
	asked  time.Duration // since when a person is needed
}

func (g *guest) tainted() bool { return g.taint != "" }

func uuidOf(i int) string { return fmt.Sprintf("11111111-2222-3333-4444-5555555555%02d", i+1) }

// nameOf is the short name of a guest.
func nameOf(uuid string) string {
	if len(uuid) < 2 {
		return uuid
	}
	return "g" + strings.TrimPrefix(uuid[len(uuid)-2:], "0")
}

func (s *Sim) guest(uuid string) *guest {
	for _, g := range s.guests {
		if g.uuid == uuid {
			return g
		}
	}
	panic("no guest " + uuid)
}

func (g *guest) xml() string { return virttest.GuestXML(g.name, g.uuid, g.memory) }

func (s *Sim) newGuest(i int) {
	g := &guest{name: nameOf(uuidOf(i)), uuid: uuidOf(i), memory: pick(s, []uint64{64 << 10, 128 << 10, 256 << 10}), autostart: s.chance(0.5)}
	s.guests = append(s.guests, g)
	st := s.hosts[i%len(s.hosts)]
	s.cause = "user"
	s.define(g, st)
	s.user(st, "start "+g.name, func(ctx context.Context, c virt.Conn) error { return c.Start(ctx, g.uuid) })
	st.host.SetLoad(g.uuid, g.memory<<10, 1<<20)
}

func (s *Sim) define(g *guest, st *station) {
	s.user(st, "define "+g.name, func(ctx context.Context, c virt.Conn) error {
		if _, err := c.Define(ctx, g.xml()); err != nil {
			return err
		}
		return c.SetAutostart(ctx, g.uuid, g.autostart)
	})
}

// user does something with virsh on a host.
func (s *Sim) user(st *station, what string, do func(ctx context.Context, c virt.Conn) error) bool {
	was := s.cause
	s.cause = "user " + what
	defer func() { s.cause = was }()
	c, err := st.host.Opener()(context.Background(), local, nil)
	if err == nil {
		err = do(context.Background(), c)
		_ = c.Close()
	}
	s.say("%s: user: %s: %v", st.name, what, err)
	s.check()
	return err == nil
}

// processes of a guest, wherever they are.
func (s *Sim) processes(g *guest) []virttest.Guest {
	return slices.DeleteFunc(s.fleet.Guests(), func(p virttest.Guest) bool { return p.UUID != g.uuid })
}

// touch notes that a user does something that may make a guest run twice.
func (s *Sim) touch(g *guest, st *station, why string) {
	elsewhere := slices.ContainsFunc(s.processes(g), func(p virttest.Guest) bool { return p.Host != st.name })
	_, open := s.house.ledger.open(g.uuid)
	if elsewhere || open || s.fleet.Moving(g.uuid) {
		g.taint = why
	}
	g.started = s.fleet.Now()
}

// autostarts: a host is about to boot, and its libvirtd starts what it finds.
func (s *Sim) autostarts(st *station) {
	for _, g := range s.guests {
		if !slices.Contains(s.fleet.AutostartOn(g.uuid), st.name) {
			continue
		}
		if st.mode != configs.HookEnforce {
			s.touch(g, st, "autostart on "+st.name)
			g.paused = false
		}
		st.autostart(g)
		if st.verdict[g.uuid] == nil {
			g.paused = false
		}
	}
}

// userActs does something that users do, to one guest.
func (s *Sim) userActs(g *guest) {
	ps := s.processes(g)
	if len(ps) == 0 {
		s.userStarts(g)
		return
	}
	p := pick(s, ps)
	st := s.byName[p.Host]
	s.stir(2 * time.Minute)
	switch s.rng.IntN(11) {
	case 10:
		s.count("user's managed save")
		s.cause = "user"
		s.touch(g, st, "saved by a user on "+st.name)
		s.say("%s: user: managed save of %s: %v", st.name, g.name, st.host.Save(g.uuid))
	case 0, 1:
		s.count("user's poweroff")
		s.say("%s: %s powers off", st.name, g.name)
		s.cause = "user"
		st.host.PowerOff(g.uuid)
	case 2:
		s.count("user's destroy")
		s.touch(g, st, "destroyed by a user on "+st.name)
		g.paused = false
		s.destroy(g, st)
	case 3, 4:
		s.count("user's suspend")
		if p.Running() && len(ps) == 1 {
			s.touch(g, st, "suspended by a user on "+st.name)
			g.paused = s.user(st, "suspend "+g.name, func(ctx context.Context, c virt.Conn) error { return c.Suspend(ctx, g.uuid) })
		}
	case 5, 6:
		s.count("user's resume")
		if !p.Running() {
			s.touch(g, st, "resumed by a user on "+st.name)
			if s.user(st, "resume "+g.name, func(ctx context.Context, c virt.Conn) error { return c.Resume(ctx, g.uuid) }) {
				g.paused = false
			}
		}
	case 7:
		s.userStarts(g)
	default:
		s.handMigrates(g, st)
	}
}

func (s *Sim) destroy(g *guest, st *station) bool {
	return s.user(st, "destroy "+g.name, func(ctx context.Context, c virt.Conn) error {
		d, err := c.Domain(ctx, g.uuid)
		if err != nil {
			return err
		}
		return c.Destroy(ctx, g.uuid, virt.Expect{ID: d.ID, State: d.State, Attempt: d.Attempt})
	})
}

// userStart is the cause of what a user's start does.
const userStart = "user start "

// startsBeside: a user's start, which nobody refuses, takes effect. When the guest
// runs elsewhere it is the user's doing, even if all was at rest while the hook
// thought about it.
func (s *Sim) startsBeside(g *guest, st *station) {
	beside := func(p virttest.Guest) bool { return p.Host != st.name && p.Running() }
	if st.mode != configs.HookEnforce && !g.tainted() && slices.ContainsFunc(s.processes(g), beside) {
		s.touch(g, st, "started by a user on "+st.name)
	}
}

// userStarts starts a guest on one of the hosts that define it, or another one.
func (s *Sim) userStarts(g *guest) {
	on := s.fleet.DefinedOn(g.uuid)
	if len(on) == 0 {
		st := pick(s, s.hosts)
		s.define(g, st)
		on = []string{st.name}
	}
	st := s.byName[pick(s, on)]
	if slices.ContainsFunc(s.processes(g), func(p virttest.Guest) bool { return p.Host == st.name }) {
		return
	}
	s.userStartsOn(g, st)
}

func (s *Sim) userStartsOn(g *guest, st *station) {
	s.count("user's start")
	if st.mode != configs.HookEnforce {
		s.touch(g, st, "started by a user on "+st.name)
		g.byHand = g.byHand || g.tainted() // the call may take the definition away under it
	}
	s.stir(time.Minute)
	s.starts(st, g.uuid, userStart+g.name, func(err error) {
		s.say("%s: user: start %s: %v", st.name, g.name, err)
		if err != nil {
			s.count("start refused or failed")
			return
		}
		g.paused, g.started = false, s.fleet.Now()
		if slices.Contains(s.fleet.AutostartOn(g.uuid), st.name) != g.autostart {
			g.byHand = true // from a leftover definition: it has that one's autostart
		}
		st.host.SetLoad(g.uuid, g.memory<<10, 1<<20)
	})
}

// handMigrates moves a guest as an operator does who knows virsh and not vireo.
func (s *Sim) handMigrates(g *guest, from *station) {
	to := pick(s, s.hosts)
	if to == from || !from.up() {
		return
	}
	s.count("hand migration")
	g.taint, g.byHand = "moved by hand from "+from.name, true
	s.stir(time.Minute)
	was := s.cause
	s.cause = "user migrate " + g.name
	err := from.host.StartMigrate(virt.MigrateParams{UUID: g.uuid, DestURI: to.host.URI(), Persist: true}, func(err error) {
		s.say("%s: user's migration of %s has ended: %v", from.name, g.name, err)
	})
	s.say("%s: user: migrate %s to %s: %v", from.name, g.name, to.name, err)
	s.cause = was
}

// person ends what only a person can: one copy stays, and it runs.
func (s *Sim) person(g *guest) {
	s.count("a person chose")
	g.taint, g.asked = cmp.Or(g.taint, "a person chooses"), 0
	ps := s.processes(g)
	if len(ps) == 0 {
		return
	}
	keep := pick(s, ps)
	for _, p := range ps { // what runs is rather kept
		if p.Running() {
			keep = p
		}
	}
	for _, p := range ps {
		st := s.byName[p.Host]
		switch {
		case p != keep:
			s.destroy(g, st)
		case !p.Running():
			s.user(st, "resume "+g.name, func(ctx context.Context, c virt.Conn) error { return c.Resume(ctx, g.uuid) })
		}
	}
	g.paused = false
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedProcs(m map[procKey]virttest.Guest) []procKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b procKey) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.pid, b.pid))
	})
}

// ordered says whether what happens now was ordered of an agent by that name.
func ordered(cause, what string) bool {
	return strings.HasPrefix(cause, "agent ") && strings.Contains(cause, " "+what+" ")
}

func (s *Sim) count(what string) { s.counts[what]++ }

func kind(o *agentv1.Order) string {
	name := fmt.Sprintf("%T", o.GetBody())
	return strings.TrimPrefix(name, "*agentv1.Order_")
}

func outcome(r *agentv1.OrderResult) string {
	return strings.TrimPrefix(r.GetOutcome().String(), "OUTCOME_")
}

// describe says in one line what an agent shows of a domain.
func describe(d *agentv1.Domain) string {
	return fmt.Sprintf("%s %s (%s) epoch %d phase %s attempt %q %s %s pause %s call %s gone %s complete %t job %q", nameOf(d.GetUuid()),
		strings.TrimPrefix(d.GetState().String(), "DOMAIN_STATE_"), d.GetReason(), d.GetEpoch(),
		strings.TrimPrefix(d.GetPhase().String(), "CLAIM_PHASE_"), d.GetAttempt(), strings.TrimPrefix(d.GetRole().String(), "ROLE_"),
		strings.TrimPrefix(d.GetAttemptState().String(), "ATTEMPT_STATE_"), strings.TrimPrefix(d.GetPause().String(), "PAUSE_"),
		strings.TrimPrefix(d.GetCall().String(), "CALL_"), strings.TrimPrefix(d.GetGone().String(), "GONE_"), d.GetComplete(),
		d.GetJob().GetOperation())
}

func resume(g *guest) func(ctx context.Context, c virt.Conn) error {
	return func(ctx context.Context, c virt.Conn) error { return c.Resume(ctx, g.uuid) }
}

func undefine(g *guest) func(ctx context.Context, c virt.Conn) error {
	return func(ctx context.Context, c virt.Conn) error { return c.Undefine(ctx, g.uuid, virt.UndefineOpts{}) }
}
