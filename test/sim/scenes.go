package sim

import (
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
)

// A scene brings a day to a moment at which several things have to happen within
// milliseconds, which chance would bring together once in a year. What happens is
// the scene's; when, and with which of its parts, is drawn.

// juncture is something between an agent and its surroundings, to which a scene is
// tied.
type juncture string

const (
	orders    juncture = "order "           // the manager sends an order of that kind
	permits   juncture = "permits"          // the manager sends a permission
	asks      juncture = "asks"             // an agent asks for one
	looks     juncture = "looks"            // libvirt has answered a look on which an order will be obeyed
	documents juncture = "reads a document" // libvirt has been asked for the domain's XML
	queued    juncture = "queued"           // the migrate call waits in libvirtd's queue
)

// cue is what a scene does at a moment, once.
type cue struct {
	at juncture
	on *station // nil: on any host
	do func(st *station)
}

// cue ties something to the next such moment of a guest.
func (s *Sim) cue(g *guest, at juncture, on *station, do func(st *station)) {
	s.cues[g.uuid] = append(s.cues[g.uuid], cue{at, on, do})
}

// cued: such a moment is there.
func (s *Sim) cued(uuid string, at juncture, on *station) {
	waiting := s.cues[uuid]
	i := slices.IndexFunc(waiting, func(c cue) bool { return c.at == at && (c.on == nil || c.on == on) })
	if i < 0 {
		return
	}
	do := waiting[i].do
	s.cues[uuid] = slices.Delete(waiting, i, i+1)
	s.say("scene: %s on %s: %s", nameOf(uuid), on.name, at)
	do(on)
}

// scenes are all of them. Each begins with a guest that runs on a host.
var scenes = []struct {
	name string
	play func(s *Sim, g *guest, st *station)
}{
	{"abort in flight", (*Sim).abortInFlight},
	{"lost call", (*Sim).lostCall},
	{"started while it looks", (*Sim).startedWhileItLooks},
	{"started anew before the move", (*Sim).startedAnew},
	{"void crosses a destroy", (*Sim).voidCrossesDestroy},
	{"void behind an order to destroy", (*Sim).voidBehindDestroy},
	{"source dies behind the switch", (*Sim).sourceDies},
	{"started after a boot", (*Sim).startedAfterBoot},
	{"late permission", (*Sim).latePermission},
	{"second start", (*Sim).secondStart},
	{"old backup", (*Sim).oldBackup},
	{"end of a lost answer", (*Sim).lostAnswer},
}

// scene plays one of them.
func (s *Sim) scene(st *station, near []string) {
	g := s.guest(pick(s, near))
	sc := pick(s, scenes)
	s.count("scene: " + sc.name)
	s.say("scene: %s, with %s on %s", sc.name, g.name, st.name)
	sc.play(s, g, st)
	s.check()
}

// moments is a short time, often a very short one.
func (s *Sim) moments(most time.Duration) time.Duration { return s.spread(20*time.Microsecond, most) }

// freezeFor freezes an agent for so long.
func (s *Sim) freezeFor(st *station, d time.Duration) {
	if st.core != nil {
		st.frozen = true
		s.after(d, "fault", st.thaw)
	}
}

// pastDeadline is a time after which the hook has stopped waiting for an agent.
func (s *Sim) pastDeadline() time.Duration {
	return s.spread(hook.Deadline+50*time.Millisecond, 30*time.Second)
}

// abortInFlight gives a move up while the order to begin it is under way, and
// what the source says comes late.
func (s *Sim) abortInFlight(g *guest, st *station) {
	s.cue(g, orders+"Move", st, func(st *station) {
		if s.chance(0.7) && st.link != nil {
			st.link.upLag, st.link.lagEnds = s.spread(time.Millisecond, 4*time.Second), s.fleet.Now()+10*time.Second
		}
		s.after(s.moments(5*time.Second), "operator", func() { s.abortMove(g) })
		if s.chance(0.2) {
			s.after(s.spread(time.Millisecond, 5*time.Second), "fault", s.house.die)
		}
	})
	s.evacuate(st)
}

// lostCall lets the source's agent lose its journal, and start more than once,
// while its call waits in libvirtd's queue.
func (s *Sim) lostCall(g *guest, st *station) {
	s.callWaits[g.uuid] = s.spread(time.Second, 25*time.Second)
	s.cue(g, queued, st, func(st *station) {
		if row, open := s.house.ledger.open(g.uuid); open && s.chance(0.7) {
			s.partition(s.byName[row.Target], s.spread(2*time.Second, 80*time.Second))
		}
		s.after(s.moments(time.Second), "fault", func() {
			s.spoilAndRestart(st)
			for range s.rng.IntN(3) {
				s.after(s.spread(100*time.Millisecond, 5*time.Second), "fault", func() {
					st.kill()
					s.after(s.spread(50*time.Millisecond, time.Second), "agent "+st.name, st.start)
				})
			}
		})
	})
	s.evacuate(st)
}

func (s *Sim) spoilAndRestart(st *station) {
	st.kill()
	s.spoil(st)
	s.after(s.spread(50*time.Millisecond, time.Second), "agent "+st.name, st.start)
}

// startedWhileItLooks ends a guest and starts it again between the look on which
// its claim is given up and the moment at which the agent goes on.
func (s *Sim) startedWhileItLooks(g *guest, st *station) {
	s.cue(g, looks, st, func(st *station) {
		if s.chance(0.7) {
			s.freezeFor(st, s.pastDeadline())
		} else {
			st.lookTakes = s.moments(50 * time.Millisecond)
		}
		s.after(s.moments(30*time.Millisecond), "user", func() { s.userStartsAgain(g, st) })
	})
	s.cause = "user"
	st.host.PowerOff(g.uuid)
}

// userStartsAgain starts a guest that has ended, where it was.
func (s *Sim) userStartsAgain(g *guest, st *station) {
	if st.up() && len(s.processes(g)) == 0 && slices.Contains(s.fleet.DefinedOn(g.uuid), st.name) {
		s.userStartsOn(g, st)
	}
}

// startedAnew ends a guest and starts it again while its agent, stopped for a
// while, prepares its move.
func (s *Sim) startedAnew(g *guest, st *station) {
	s.cue(g, documents, st, func(st *station) {
		s.freezeFor(st, s.pastDeadline())
		end := s.moments(30 * time.Millisecond)
		s.after(end, "user", func() {
			if s.chance(0.7) {
				st.host.PowerOff(g.uuid)
			} else {
				s.destroy(g, st)
			}
		})
		s.after(end+s.moments(20*time.Millisecond), "user", func() { s.userStartsAgain(g, st) })
	})
	s.evacuate(st)
}

// voidCrossesDestroy leaves the source's copy stopped behind a complete one, and
// lets it be destroyed while the order to void the attempt is on its way.
func (s *Sim) voidCrossesDestroy(g *guest, st *station) {
	s.fleet.At(g.uuid, virttest.Finishing, func() {
		s.after(0, "fault", func() { s.fleet.KeepSource(g.uuid) })
	})
	s.cue(g, orders+"Void", st, func(st *station) {
		s.after(s.moments(20*time.Millisecond), "user", func() {
			for _, p := range s.processes(g) {
				if p.Host == st.name && !p.Running() {
					s.touch(g, st, "destroyed by a user on "+st.name)
					s.destroy(g, st)
				}
			}
		})
		if s.chance(0.5) && st.link != nil {
			st.link.downLag, st.link.lagEnds = s.spread(time.Millisecond, 100*time.Millisecond), s.fleet.Now()+time.Second
		}
	})
	s.evacuate(st)
}

// voidBehindDestroy leaves the source's copy stopped behind one that somebody has
// let run: it is to be destroyed, which takes a while, and meanwhile a new manager,
// to which the target is silent, would rather have it run on.
func (s *Sim) voidBehindDestroy(g *guest, st *station) {
	s.fleet.At(g.uuid, virttest.Finishing, func() {
		s.after(0, "fault", func() { s.fleet.KeepSource(g.uuid) })
	})
	s.fleet.At(g.uuid, virttest.Returned, func() {
		s.after(s.moments(2*time.Millisecond), "user", func() { s.wakePaused(g, st) })
	})
	s.cue(g, orders+"DestroyOwn", st, func(st *station) {
		st.destroyTakes = s.spread(time.Second, 30*time.Second)
		s.after(s.moments(time.Second), "fault", func() {
			if row, open := s.house.ledger.open(g.uuid); open {
				s.partition(s.byName[row.Target], s.spread(5*time.Second, time.Minute))
			}
			s.house.die()
		})
	})
	s.evacuate(st)
}

// wakePaused lets a user resume a guest's paused copies on all hosts but one.
func (s *Sim) wakePaused(g *guest, but *station) {
	for _, p := range s.processes(g) {
		if on := s.byName[p.Host]; on != but && !p.Running() && !p.Incoming {
			s.touch(g, on, "resumed by a user on "+on.name)
			s.user(on, "resume "+g.name, resume(g))
		}
	}
}

// sourceDies crashes the source right behind the switch: it boots with a
// definition, and maybe an autostart, of a guest that has left.
func (s *Sim) sourceDies(g *guest, st *station) {
	at := pick(s, []virttest.Phase{virttest.Finished, virttest.Confirmed, virttest.Exited, virttest.Exited, virttest.Exited, virttest.Returned})
	s.fleet.At(g.uuid, at, func() {
		s.after(s.moments(200*time.Millisecond), "fault", func() {
			st.crash()
			s.after(s.spread(time.Second, time.Minute), "boot "+st.name, func() { s.boots(st) })
		})
	})
	s.evacuate(st)
}

// startedAfterBoot lets users start a guest after its host has booted, while the
// manager and the agent find out who holds it.
func (s *Sim) startedAfterBoot(g *guest, st *station) {
	start := func(st *station) {
		if s.chance(0.5) {
			st.lookTakes = s.moments(50 * time.Millisecond)
		}
		s.after(s.moments(5*time.Millisecond), "user", func() { s.userStartsAgain(g, st) })
	}
	at := []juncture{looks, looks, orders + "Release", orders + "Confirm"}
	st.crash()
	s.after(s.spread(time.Second, 30*time.Second), "boot "+st.name, func() {
		s.cue(g, pick(s, at), st, start)
		s.boots(st)
		if s.chance(0.3) {
			s.after(s.spread(20*time.Millisecond, 20*time.Second), "user", func() { s.userStartsAgain(g, st) })
		}
	})
}

// latePermission lets a host crash before a permission reaches it, and brings the
// permission when it asks again after its boot.
func (s *Sim) latePermission(g *guest, st *station) {
	s.cue(g, permits, st, func(st *station) {
		late := s.house.permitted[len(s.house.permitted)-1]
		s.after(s.moments(time.Millisecond), "fault", func() {
			how := s.rng.IntN(3)
			switch how {
			case 0:
				st.crash()
				s.after(s.spread(time.Second, 10*time.Second), "boot "+st.name, st.boot)
			case 1:
				st.kill()
				s.after(s.spread(50*time.Millisecond, 2*time.Second), "agent "+st.name, st.start)
			case 2:
				s.cutOff(st)
			}
			s.cue(g, asks, st, func(st *station) {
				s.after(s.moments(2*time.Millisecond), "agent "+st.name, func() {
					st.do(func() { st.core.Received(late, st.now()) })
				})
			})
			for range 4 { // until it is up and has a session
				s.after(s.spread(100*time.Millisecond, 20*time.Second), "user", func() { s.userStartsAgain(g, st) })
			}
		})
	})
	s.cause = "user"
	st.host.PowerOff(g.uuid)
	s.after(s.spread(time.Second, 5*time.Second), "user", func() { s.userStartsAgain(g, st) })
}

// secondStart defines a guest on another host as well, and starts it there.
func (s *Sim) secondStart(g *guest, st *station) {
	other := pick(s, s.hosts)
	if other == st || !other.up() {
		return
	}
	s.cause = "user"
	s.define(g, other)
	s.after(s.spread(time.Millisecond, 20*time.Second), "user", func() {
		if len(s.processes(g)) == 0 || s.byName[s.processes(g)[0].Host] != other {
			s.userStartsOn(g, other)
		}
	})
	if s.chance(0.5) {
		s.evacuate(st)
	}
}

// oldBackup restores the store as it was before a guest moved, while a host has
// nothing to say, and lets a user start the guest where the store believes it.
func (s *Sim) oldBackup(g *guest, st *station) {
	if s.turns != nil { // an etcd that is put back is not modelled
		s.overtaken(g, st)
		return
	}
	if !s.house.up() {
		return
	}
	s.backUp()
	s.evacuate(st)
	s.pass(s.spread(5*time.Second, time.Minute))
	ps := s.processes(g)
	if len(ps) == 0 {
		return
	}
	at := s.byName[ps[0].Host]
	s.count("restore")
	s.restore()
	if s.chance(0.8) {
		s.partition(at, s.spread(5*time.Second, 60*time.Second))
	}
	if at != st && st.up() {
		if !slices.Contains(s.fleet.DefinedOn(g.uuid), st.name) {
			s.define(g, st)
		}
		for range 3 {
			s.after(s.spread(100*time.Millisecond, time.Minute), "user", func() {
				if ps := s.processes(g); st.up() && len(ps) == 1 && ps[0].Host != st.name {
					s.userStartsOn(g, st)
				}
			})
		}
	}
}

// lostAnswer loses the last answer of a move and does what is worst then.
func (s *Sim) lostAnswer(g *guest, st *station) {
	worst := pick(s, []string{"unseen end", "unseen end", "old memory", "stopped copy ends", "wake copy", "two"})
	s.fleet.At(g.uuid, virttest.Finishing, func() { s.after(0, "fault", func() { s.strike(worst, g) }) })
	s.evacuate(st)
}

// partition cuts a host off from the manager for a while.
func (s *Sim) partition(st *station, d time.Duration) {
	st.apart = true
	s.cutOff(st)
	s.after(d, "fault", func() { st.apart = false })
}

// abortMove aborts a guest's move, if it has one.
func (s *Sim) abortMove(g *guest) {
	row, open := s.house.ledger.open(g.uuid)
	if !open {
		return
	}
	s.count("operator's abort")
	s.house.do(func() {
		err := s.house.core.Abort(s.house.now(), row.ID, "operator", "the simulator wants it")
		s.say("operator: abort %s: %v", row.ID, err)
	})
}

// queueTime is how long a migrate call waits before libvirtd begins with it: a
// scene's time, or by chance; 0 when it does not.
func (s *Sim) queueTime(p virt.MigrateParams, st *station) time.Duration {
	if wait := s.callWaits[p.UUID]; wait > 0 {
		delete(s.callWaits, p.UUID)
		s.cued(p.UUID, queued, st)
		return wait
	}
	if s.quiet || !s.chance(0.03) {
		return 0
	}
	meanwhile := pick(s, []string{"kill agent", "kill agent", "break session", "kill manager", "abort"})
	s.after(s.spread(time.Millisecond, time.Second), "fault", func() { s.strike(meanwhile, s.guest(p.UUID)) })
	return s.spread(time.Second, 30*time.Second)
}
