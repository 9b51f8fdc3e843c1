package sim

import (
	"slices"
	"time"
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
	if s.turns == nil && s.chance(0.2) && s.house.up() {
		s.backUp()
	}
	if s.turns != nil && s.chance(0.5) {
		s.after(s.spread(time.Millisecond, 30*time.Second), "fault", func() { s.strike(pick(s, managerFaults), pick(s, s.guests)) })
	}
	from := pick(s, s.hosts)
	near := s.on(from)
	if len(near) > 0 && s.chance(0.5) {
		s.scene(from, near)
	} else {
		s.anything(from, near)
	}
	s.pass(s.spread(2*time.Second, 3*time.Minute))
	if s.chance(0.2) {
		s.giveBack(from)
	}
	s.calm()
	s.atRest("an episode")
	s.tidy()
}

// anything plants faults near the guests of a host and empties it.
func (s *Sim) anything(from *station, near []string) {
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
		d, err := s.house.core.Evacuate(s.house.now(), st.name, "operator", "the simulator wants it")
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
		err := s.house.core.Return(s.house.now(), st.name, "operator", "the simulator wants it")
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
		err := s.house.core.Abort(s.house.now(), id, "operator", "the simulator wants it")
		s.say("operator: abort %s: %v", id, err)
	})
}

// calm ends every fault and starts what was stopped.
func (s *Sim) calm() {
	s.say("---- calm")
	s.quiet = true
	s.stir(2 * time.Minute)
	clear(s.planted)
	clear(s.cues)
	clear(s.callWaits)
	for _, g := range s.guests { // what was planted and has not happened
		for _, p := range phases {
			s.fleet.At(g.uuid, p, func() {})
		}
		s.fleet.Stall(g.uuid, false)
	}
	s.pass(2 * time.Minute) // everything that was broken for a while is whole again
	s.house.ledger.dieIn, s.house.ledger.full = 0, false
	for _, st := range s.hosts {
		st.dieIn, st.failing, st.apart, st.delays = 0, false, false, delays{}
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
	for _, h := range s.houses {
		h.whole()
	}
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
