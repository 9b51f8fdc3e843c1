package sim

import (
	"os"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
)

// day is the whole run: quiet hours, and episodes in which everything goes wrong.
func (s *Sim) day() {
	s.stir(2 * time.Minute)
	s.pass(2 * time.Minute)
	s.atRest("the beginning")
	end := s.fleet.Now() + s.opts.Day
	for i := range s.opts.Episodes {
		left := s.opts.Episodes - i
		gap := max(0, (end-s.fleet.Now())/time.Duration(left)-10*time.Minute)
		s.pass(s.between(gap/2, gap))
		s.episode()
	}
	if left := end - s.fleet.Now(); left > 0 {
		s.pass(left)
	}
	s.atRest("the end of the day")
}

// episode is one evacuation or two with faults in them, and the calm after.
func (s *Sim) episode() {
	s.say("---- episode")
	s.count("episodes")
	s.quiet = false
	s.stir(5 * time.Minute)
	from := pick(s, s.hosts)
	near := s.on(from)
	if s.chance(0.9) && len(near) > 0 {
		for range 1 + s.rng.IntN(5) {
			s.plant(pick(s, near))
		}
	}
	if s.chance(0.3) {
		s.after(s.spread(time.Second, time.Minute), "user", func() { s.userActs(pick(s, s.guests)) })
	}
	s.evacuate(from)
	if s.chance(0.25) {
		s.pass(s.spread(10*time.Millisecond, 20*time.Second))
		s.evacuate(pick(s, s.hosts))
	}
	s.pass(s.spread(2*time.Second, 3*time.Minute))
	if s.chance(0.2) {
		s.giveBack(from)
	}
	s.calm()
	s.atRest("an episode")
	s.tidy()
}

// on lists the guests on a host.
func (s *Sim) on(st *station) []string {
	var all []string
	for _, p := range s.fleet.Guests() {
		if p.Host == st.name {
			all = append(all, p.UUID)
		}
	}
	return all
}

// evacuate asks the manager to empty a host.
func (s *Sim) evacuate(st *station) {
	s.cause = "operator"
	s.house.do(func() {
		d, err := s.house.core.Evacuate(s.now(), st.name, "operator", "the simulator wants it")
		s.say("operator: evacuate %s: %s %v", st.name, d, err)
		if err == nil {
			s.count("evacuations")
		}
	})
	s.check()
}

func (s *Sim) giveBack(st *station) {
	s.cause = "operator"
	s.house.do(func() {
		err := s.house.core.Return(s.now(), st.name, "operator", "the simulator wants it")
		s.say("operator: return %s: %v", st.name, err)
	})
	s.check()
}

func (s *Sim) abort() {
	var open []string
	for _, id := range sorted(s.house.ledger.rows) {
		if !s.house.ledger.rows[id].State.Ended() {
			open = append(open, id)
		}
	}
	if len(open) == 0 {
		return
	}
	s.count("operator's abort")
	id := pick(s, open)
	s.house.do(func() {
		err := s.house.core.Abort(s.now(), id, "operator", "the simulator wants it")
		s.say("operator: abort %s: %v", id, err)
	})
}

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
	switch s.rng.IntN(8) {
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

// fault draws what goes wrong.
func (s *Sim) fault() string {
	return pick(s, []string{
		"lose finish", "lose finish", "keep source", "keep source", "kill libvirtd", "kill libvirtd", "kill libvirtd", "freeze libvirtd", "freeze libvirtd", "cut", "cut",
		"crash host", "crash host", "kill agent", "kill agent", "kill agent", "kill manager", "kill manager", "freeze agent", "freeze manager",
		"break session", "break session", "partition", "partition", "user", "user", "kill qemu", "abort", "stray", "stray", "disk full", "journal full", "old memory", "old memory", "two", "two", "two",
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
		s.house.frozen = s.house.up()
		s.after(s.spread(100*time.Millisecond, 80*time.Second), "fault", s.house.thaw)
	case "break session":
		s.cutOff(st)
	case "partition":
		st.apart = true
		s.cutOff(st)
		s.after(s.spread(500*time.Millisecond, 80*time.Second), "fault", func() { st.apart = false })
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

// calm ends every fault and starts what was stopped.
func (s *Sim) calm() {
	s.say("---- calm")
	s.quiet = true
	s.stir(2 * time.Minute)
	for _, g := range s.guests { // what was planted and has not happened
		for _, p := range phases {
			s.fleet.At(g.uuid, p, func() {})
		}
		s.fleet.Stall(g.uuid, false)
	}
	s.pass(2 * time.Minute) // everything that was broken for a while is whole again
	s.house.ledger.dieIn, s.house.ledger.full = 0, false
	for _, st := range s.hosts {
		st.dieIn, st.failing, st.apart = 0, false, false
		if !st.up() {
			st.boot()
		}
		s.thawLibvirtd(st)
		st.host.StartLibvirtd()
		for _, other := range s.hosts {
			if other != st {
				s.fleet.Mend(st.host, other.host)
			}
		}
		st.thaw()
		st.start()
	}
	s.house.thaw()
	s.house.start()
}

// restWithin is how long the world may take to come to rest once nothing goes
// wrong any more.
const restWithin = 15 * time.Minute

// atRest waits until all is at rest, with a person where one is needed.
func (s *Sim) atRest(after string) {
	for range 2 * len(s.guests) {
		what, person := "", ""
		rested := s.until(restWithin, func() bool {
			s.stir(2 * time.Second)
			what, person = s.wrong()
			return what == "" || person != "" && s.guest(person).waited(s)
		})
		if !rested {
			s.fail("no rest %s after %s: %s", restWithin, after, what)
		}
		if what == "" {
			return
		}
		s.person(s.guest(person))
	}
	what, _ := s.wrong()
	s.fail("a person does not help after %s: %s", after, what)
}

// tidy is what operators do after an episode: hosts go back into service, what
// has ended is started again, and leftovers go.
func (s *Sim) tidy() {
	s.stir(30 * time.Second)
	for _, st := range s.hosts {
		s.giveBack(st)
	}
	s.pass(5 * time.Second)
	for _, g := range s.guests {
		ps := s.processes(g)
		if len(ps) == 0 {
			s.userStarts(g)
			continue
		}
		if g.paused {
			st := s.byName[ps[0].Host]
			g.paused = !s.user(st, "resume "+g.name, resume(g))
		}
		s.leftovers(g, ps[0].Host)
	}
	s.pass(20 * time.Second)
	s.atRest("tidying up")
}

// leftovers removes, most of the time, definitions where the guest is not.
func (s *Sim) leftovers(g *guest, at string) {
	on := s.fleet.DefinedOn(g.uuid)
	for _, name := range on {
		if name != at && s.chance(0.7) {
			s.count("leftover definition")
			s.user(s.byName[name], "undefine "+g.name, undefine(g))
		}
	}
	if !slices.Contains(on, at) {
		if !g.byHand {
			s.fail("%s runs on %s, which has no definition of it (defined on %v)", g.name, at, on)
		}
		s.define(g, s.byName[at])
	} else if auto := slices.Contains(s.fleet.AutostartOn(g.uuid), at); auto != g.autostart {
		if !g.byHand {
			s.fail("%s on %s: autostart %t, it was %t", g.name, at, auto, g.autostart)
		}
		s.define(g, s.byName[at])
	}
	g.byHand = false
}
