package sim

import (
	"os"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/migration"
)

// phases are the steps of a migration at which a fault is planted; the last ones
// are the dangerous ones and come more often.
var phases = []virttest.Phase{
	virttest.Preparing, virttest.Transferring, virttest.Transferring, virttest.Stopped, virttest.Stopped, virttest.Complete, virttest.Complete,
	virttest.Finishing, virttest.Finishing, virttest.Finishing, virttest.Finished, virttest.Finished, virttest.Finished,
	virttest.Confirmed, virttest.Confirmed, virttest.Exited, virttest.Exited, virttest.Returned, virttest.Returned,
}

// plant ties a fault to a step of some guest's next migration, or to chance.
func (s *Sim) plant(near string) {
	g := s.guest(near)
	f := s.fault()
	switch s.rng.IntN(12) {
	case 8:
		s.fleet.At(g.uuid, virttest.Transferring, func() { s.after(0, "fault", func() { s.strike("start behind", g) }) })
	case 3: // the target hears of nothing from before the copy comes
		s.fleet.At(g.uuid, pick(s, []virttest.Phase{virttest.Preparing, virttest.Transferring}), func() {
			s.after(0, "fault", func() { s.strike("deaf target", g) })
		})
	case 4:
		s.fleet.At(g.uuid, virttest.Finishing, func() { s.after(0, "fault", func() { s.strike("old memory", g) }) })
	case 0:
		s.after(s.spread(time.Millisecond, time.Minute), "fault", func() { s.strike(f, g) })
	case 1:
		s.house.ledger.dieIn, s.house.ledger.dieAfter = 1+s.rng.IntN(40), s.chance(0.5)
	case 2:
		st := pick(s, s.hosts)
		st.dieIn, st.dieBefore = 1+s.rng.IntN(15), s.chance(0.5)
	case 5, 6: // between two of the manager's steps
		s.planted[g.uuid] = append(s.planted[g.uuid], plantedStep{pick(s, steps), func() { s.strike(f, g) }})
	case 7: // a long transfer, in which there is time for anything
		s.fleet.At(g.uuid, virttest.Transferring, func() {
			s.after(0, "fault", func() { s.strike("stall", g) })
			s.after(s.spread(time.Millisecond, 10*time.Second), "fault", func() { s.strike(f, g) })
		})
	default:
		phase := pick(s, phases)
		s.fleet.At(g.uuid, phase, func() {
			wait := time.Duration(0)
			if s.chance(0.7) {
				wait = s.spread(50*time.Microsecond, 400*time.Millisecond)
			}
			s.after(wait, "fault", func() { s.strike(f, g) })
		})
	}
}

// steps are the states of a row at whose beginning a fault is planted.
var steps = []migration.State{
	migration.Claimed, migration.Preparing, migration.Preparing, migration.Running, migration.Switching, migration.Verifying, migration.Verifying,
	migration.Committing, migration.Committing, migration.Aborting, migration.Aborting, migration.Done, migration.RolledBack,
}

// plantedStep is a fault that waits for a row to reach a state.
type plantedStep struct {
	at migration.State
	do func()
}

// stepped: a row has reached a state, and what was planted there happens a little
// later.
func (s *Sim) stepped(r migration.Row) {
	waiting := s.planted[r.Domain]
	i := slices.IndexFunc(waiting, func(p plantedStep) bool { return p.at == r.State })
	if i < 0 {
		return
	}
	s.after(s.spread(50*time.Microsecond, 100*time.Millisecond), "fault", waiting[i].do)
	s.planted[r.Domain] = slices.Delete(waiting, i, i+1)
}

// fault draws what goes wrong.
func (s *Sim) fault() string {
	if s.turns != nil && s.chance(0.4) {
		return pick(s, managerFaults)
	}
	return pick(s, []string{
		"lose finish", "lose finish", "keep source", "keep source", "kill libvirtd", "kill libvirtd", "kill libvirtd", "freeze libvirtd", "freeze libvirtd", "cut", "cut",
		"crash host", "crash host", "kill agent", "kill agent", "kill agent", "kill manager", "kill manager", "freeze agent", "freeze manager",
		"break session", "break session", "partition", "partition", "user", "user", "kill qemu", "abort", "stray", "stray", "disk full", "journal full", "old memory", "old memory", "two", "two", "two",
		"stall", "bounce", "bounce", "unseen end", "stopped copy ends", "clock step", "wake copy", "start behind", "restore",
	})
}

// sides of a guest's move: where its processes are, or where its claim is.
func (s *Sim) side(g *guest) *station {
	if row, open := s.house.ledger.open(g.uuid); open {
		return s.byName[pick(s, []string{row.Source, row.Target})]
	}
	if ps := s.processes(g); len(ps) > 0 {
		return s.byName[pick(s, ps).Host]
	}
	return pick(s, s.hosts)
}

// strike lets a fault happen now.
func (s *Sim) strike(f string, g *guest) {
	st := s.side(g)
	s.stir(2 * time.Minute)
	s.count(f)
	s.say("fault: %s near %s on %s", f, g.name, st.name)
	switch f {
	case "two":
		if first := s.fault(); s.chance(0.4) {
			s.strike("lose finish", g) // the copy that it leaves is what others stumble over
		} else {
			s.strike(first, g)
		}
		s.after(s.spread(time.Millisecond, 5*time.Second), "fault", func() { s.strike(s.fault(), g) })
	case "old memory":
		s.oldMemory(g)
	case "unseen end":
		s.unseenEnd(g)
	case "bounce":
		s.bounce(g)
	case "stopped copy ends":
		s.stoppedCopyEnds(g)
	case "wake copy":
		s.wakeCopy(g)
	case "start behind":
		s.startBehind(g)
	case "restore":
		if s.turns != nil { // an etcd that is put back is not modelled
			s.strikeManager(pick(s, managerFaults))
		} else {
			s.restore()
		}
	case "stall":
		s.fleet.Stall(g.uuid, true)
		s.after(s.spread(time.Second, 80*time.Second), "fault", func() { s.fleet.Stall(g.uuid, false) })
	case "clock step":
		if s.chance(0.3) {
			s.stepClock(&s.house.clock, "manager")
		} else {
			s.stepClock(&st.clock, st.name)
		}
	case "deaf target":
		if row, open := s.house.ledger.open(g.uuid); open {
			s.freezeAgent(s.byName[row.Target])
		}
	case "keep source":
		s.fleet.KeepSource(g.uuid)
	case "lose finish":
		s.fleet.LoseFinish(g.uuid)
	case "kill libvirtd":
		s.killLibvirtd(st)
	case "freeze libvirtd":
		s.freezeLibvirtd(st, s.spread(100*time.Millisecond, 80*time.Second))
	case "cut":
		if other := pick(s, s.hosts); other != st {
			s.fleet.Cut(st.host, other.host)
			s.after(s.spread(100*time.Millisecond, 80*time.Second), "fault", func() { s.fleet.Mend(st.host, other.host) })
		}
	case "crash host":
		s.strikeHost(st)
	case "kill agent":
		s.killAgent(st)
	case "freeze agent":
		s.freezeAgent(st)
	case "kill manager":
		s.house.die()
	case "freeze manager":
		s.house.freeze(s.spread(100*time.Millisecond, 80*time.Second))
	case "break session":
		s.cutOff(st)
	case "partition":
		s.partition(st, s.spread(500*time.Millisecond, 80*time.Second))
	case "user":
		s.userActs(g)
	case "kill qemu":
		s.cause = "fault"
		st.host.KillQEMU(g.uuid)
	case "abort":
		s.abort()
	case "stray":
		s.stray()
	case "disk full":
		s.house.ledger.full = true
		s.after(s.spread(100*time.Millisecond, 20*time.Second), "fault", func() { s.house.ledger.full = false })
	case "journal full":
		st.failing = true
		s.after(s.spread(100*time.Millisecond, 20*time.Second), "fault", func() { st.failing = false })
	default:
		s.strikeManager(f)
	}
}

// oldMemory loses the last answer, so that the source runs on beside a complete
// copy, and ends the source's guest while nobody can hear of it.
func (s *Sim) oldMemory(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	source := s.byName[row.Source]
	s.fleet.LoseFinish(g.uuid)
	source.apart = true
	s.cutOff(source)
	s.after(s.spread(200*time.Millisecond, 5*time.Second), "fault", func() {
		switch s.rng.IntN(3) {
		case 0:
			source.host.PowerOff(g.uuid)
		case 1:
			source.host.KillQEMU(g.uuid)
		case 2:
			s.strikeHost(source)
		}
	})
	s.after(s.spread(2*time.Second, 20*time.Second), "fault", func() { source.apart = false })
}

// unseenEnd is oldMemory where nobody is left to see how the source's guest ends:
// its agent is dead, and libvirtd, restarted, has forgotten it.
func (s *Sim) unseenEnd(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	source := s.byName[row.Source]
	s.fleet.LoseFinish(g.uuid)
	s.after(s.spread(200*time.Millisecond, 5*time.Second), "fault", func() {
		source.kill()
		s.cause = "fault"
		if s.chance(0.5) {
			source.host.PowerOff(g.uuid)
		} else {
			source.host.KillQEMU(g.uuid)
		}
		if s.chance(0.8) {
			s.killLibvirtd(source)
		}
		s.after(s.spread(50*time.Millisecond, 20*time.Second), "agent "+source.name, source.start)
	})
}

// bounce ends a guest and lets its user start it again on the same host while its
// agent has yet to hear that the claim is to be given up.
func (s *Sim) bounce(g *guest) {
	ps := s.processes(g)
	if len(ps) != 1 || !ps[0].Running() {
		return
	}
	st := s.byName[ps[0].Host]
	s.cause = "user"
	st.host.PowerOff(g.uuid)
	wait := s.spread(100*time.Microsecond, 60*time.Millisecond)
	if s.chance(0.7) {
		s.after(wait, "fault", func() {
			s.freezeAgent(st)
		})
	}
	s.after(wait+s.spread(100*time.Microsecond, 10*time.Millisecond), "user", func() {
		if slices.Contains(s.fleet.DefinedOn(g.uuid), st.name) && len(s.processes(g)) == 0 {
			s.userStartsOn(g, st)
		}
	})
}

// stoppedCopyEnds leaves the source's copy stopped behind a complete one, and ends
// it by a user's hand while its agent is about to be told what becomes of it.
func (s *Sim) stoppedCopyEnds(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	source := s.byName[row.Source]
	s.fleet.KeepSource(g.uuid)
	if s.chance(0.5) {
		s.after(s.spread(time.Millisecond, time.Second), "fault", func() { s.freezeAgent(source) })
	}
	s.after(s.spread(50*time.Millisecond, 4*time.Second), "user", func() {
		for _, p := range s.processes(g) {
			if p.Host == source.name && !p.Running() {
				s.touch(g, source, "destroyed by a user on "+source.name)
				s.destroy(g, source)
			}
		}
	})
}

// startBehind lets a user start the guest again on the host that it has just left.
func (s *Sim) startBehind(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	source := s.byName[row.Source]
	s.fleet.At(g.uuid, virttest.Exited, func() {
		s.after(s.between(0, 200*time.Millisecond), "user", func() { s.userStartsOn(g, source) })
	})
}

// wakeCopy loses the last answer and lets a user resume the copy that the target
// keeps, where its agent does not see it in time.
func (s *Sim) wakeCopy(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	target := s.byName[row.Target]
	s.fleet.LoseFinish(g.uuid)
	if s.chance(0.7) {
		s.freezeAgent(target)
	}
	s.after(s.spread(time.Millisecond, 3*time.Second), "user", func() { s.wakePaused(g, s.byName[row.Source]) })
}

func (s *Sim) strikeHost(st *station) {
	st.crash()
	s.after(s.spread(2*time.Second, 2*time.Minute), "boot "+st.name, func() { s.boots(st) })
}

func (s *Sim) freezeAgent(st *station) {
	if st.core != nil {
		st.frozen = true
		s.after(s.spread(100*time.Millisecond, 80*time.Second), "fault", st.thaw)
	}
}

func (s *Sim) killLibvirtd(st *station) {
	st.late = nil
	st.host.KillLibvirtd()
	s.after(s.spread(100*time.Millisecond, 80*time.Second), "libvirt", st.host.StartLibvirtd)
}

func (s *Sim) freezeLibvirtd(st *station, d time.Duration) {
	st.host.Freeze()
	s.after(d, "libvirt", func() { s.thawLibvirtd(st) })
}

// thawLibvirtd lets it go on: it finds in its sockets what nobody waits for.
func (s *Sim) thawLibvirtd(st *station) {
	st.host.Thaw()
	all := st.late
	st.late = nil
	for _, l := range all {
		s.cause = l.cause
		if st.host.Answers() {
			l.do()
			s.check()
		}
	}
}

// killAgent kills the agent, and sometimes spoils or loses what it had written.
func (s *Sim) killAgent(st *station) {
	if st.core == nil {
		return
	}
	st.kill()
	if s.chance(0.25) {
		s.spoil(st)
	}
	s.after(s.spread(50*time.Millisecond, 40*time.Second), "agent "+st.name, st.start)
}

// spoil damages the journal of a dead agent.
func (s *Sim) spoil(st *station) {
	raw, err := os.ReadFile(st.run)
	if err != nil {
		return
	}
	how := pick(s, []string{"removed", "cut", "zeros"})
	s.count("journal " + how)
	s.say("%s: the journal is %s", st.name, how)
	switch how {
	case "removed":
		err = os.Remove(st.run)
	case "cut":
		err = os.WriteFile(st.run, raw[:s.rng.IntN(len(raw)+1)], 0o600)
	case "zeros":
		from := s.rng.IntN(len(raw) + 1)
		clear(raw[from:])
		err = os.WriteFile(st.run, raw, 0o600)
	}
	if err != nil {
		s.fail("spoiling a journal: %v", err)
	}
}

// boots: a host comes back, and its first seconds are not quiet ones.
func (s *Sim) boots(st *station) {
	st.boot()
	s.stir(2 * time.Minute)
	if s.chance(0.5) { // what was said to it before is still on its way
		for _, o := range s.house.sent {
			if o.to == st && s.chance(0.3) {
				s.after(s.spread(10*time.Millisecond, 30*time.Second), "agent "+st.name, func() { st.do(func() { st.hear(o.order) }) })
			}
		}
	}
	if s.chance(0.4) {
		g := pick(s, s.guests)
		f := pick(s, []string{"kill agent", "kill libvirtd", "kill manager", "break session", "partition", "user", "stray", "stray", "freeze libvirtd"})
		s.after(s.spread(10*time.Millisecond, 20*time.Second), "fault", func() { s.strike(f, g) })
	}
}

// stray brings an order of some time ago once more, whatever has happened to
// its session, its manager or its host since.
func (s *Sim) stray() {
	if len(s.house.sent) == 0 {
		return
	}
	for range 1 + s.rng.IntN(8) {
		o := pick(s, s.house.sent)
		s.after(s.spread(time.Millisecond, 10*time.Second), "agent "+o.to.name, func() {
			o.to.do(func() { o.to.hear(o.order) })
		})
	}
}
