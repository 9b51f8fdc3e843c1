package sim

import (
	"context"
	"errors"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// hooks is libvirt's hook on one host: what it is asked now, and what it has
// answered to a start that libvirt is about to carry out.
type hooks struct {
	mode    configs.HookMode
	running int             // hooks that libvirtd waits for: nobody else gets an answer
	starts  map[string]bool // by domain: a start is under way
	verdict map[string]error
	waiting map[int]func() // questions to the agent: what they do when it dies
	asked   int
	// unmarked: there were no marks beside the journal, and no hook has decided
	// alone since. The agent looks at every tick, and most of a day is ticks.
	unmarked bool
}

// installHook puts the hook in libvirt's way on a host.
func (st *station) installHook(mode configs.HookMode) {
	st.mode, st.starts, st.verdict, st.waiting = mode, map[string]bool{}, map[string]error{}, map[int]func(){}
	st.host.SetInfo(func(i *virt.HostInfo) { i.Hooks = []string{hook.File()} })
	st.host.SetHook(func(_, operation, sub, xml string) error {
		if !hook.Matters(operation, sub) {
			return nil
		}
		verdict, asked := st.verdict[uuidIn(xml)]
		if !asked {
			return errors.New("the hook was not asked")
		}
		return verdict
	})
	st.host.SetAsker(func(name, operation, xml string, answer func(error)) {
		locks := operation == string(hook.Prepare) // migrate is asked before anything is locked
		if locks {
			st.running++
		}
		st.consult(hook.Request{Name: name, Operation: hook.Operation(operation), XML: xml}, func(err error) {
			if locks {
				st.running--
			}
			answer(err)
		})
	})
}

// uuidIn finds the domain in a document.
func uuidIn(xml string) string {
	d, err := virt.ParseDomain(xml)
	if err != nil {
		return ""
	}
	return d.UUID
}

func refusal(a hook.Answer) error {
	if a.Allow {
		return nil
	}
	return errors.New("vireo: " + a.Message)
}

// alone is what the hook's program decides without an agent.
func (st *station) alone(r hook.Request, why string) hook.Answer {
	st.unmarked = false
	a := hook.Alone(hook.Solo{Journal: st.run, BootID: st.host.BootID(), Mode: st.mode, Down: configs.AllowHeld, Why: why}, r, st.now())
	st.s.say("%s: hook: %s %s alone (%s): allowed %t %s", st.name, r.Operation, r.Name, why, a.Allow, a.Message)
	return a
}

// autostart is what the hook decides about a domain that libvirtd starts by
// itself, before there is an agent. The journal has gone with the boot.
func (st *station) autostart(g *guest) {
	st.verdict[g.uuid] = refusal(st.alone(hook.Request{Name: g.name, Operation: hook.Prepare, XML: g.xml()}, "no agent runs"))
}

// consult is the hook's program at work: it asks the agent, and decides alone
// when there is none or when it takes too long.
func (st *station) consult(r hook.Request, answer func(error)) {
	s, boot := st.s, st.host.BootID()
	st.asked++
	id := st.asked
	over := false
	finish := func(a hook.Answer) {
		if over {
			return
		}
		over = true
		delete(st.waiting, id)
		if st.up() && st.host.BootID() == boot {
			answer(refusal(a))
		}
	}
	alone := func(why string) {
		if !over && st.up() && st.host.BootID() == boot {
			finish(st.alone(r, why))
		}
	}
	s.after(s.latency(), "hook "+st.name, func() {
		switch {
		case !st.up() || st.host.BootID() != boot:
			return
		case st.core == nil:
			alone("no agent runs")
			return
		}
		st.waiting[id] = func() { s.after(s.latency(), "hook "+st.name, func() { alone("the agent has died") }) }
		s.after(hook.Deadline, "hook "+st.name, func() { alone("the agent does not answer") })
		st.do(func() {
			st.core.Hooked(r, st.now(), func(a hook.Answer) {
				s.say("%s: hook: %s %s: allowed %t %s", st.name, r.Operation, r.Name, a.Allow, a.Message)
				s.after(s.latency(), "hook "+st.name, func() { finish(a) })
			})
		})
	})
}

// abandoned lets hooks that wait for a dead agent decide alone.
func (h *hooks) abandoned() {
	for id := range h.asked + 1 {
		if die := h.waiting[id]; die != nil {
			delete(h.waiting, id)
			die()
		}
	}
}

// reached calls f when no hook keeps that libvirtd from answering.
func (st *station) reached(cause string, f func()) {
	if st.running > 0 {
		st.s.after(2*time.Millisecond, cause, func() { st.reached(cause, f) })
		return
	}
	f()
}

// starts boots a domain, for a user or for the agent: libvirt asks the hook first,
// and nobody gets an answer meanwhile.
func (s *Sim) starts(st *station, uuid, cause string, done func(error)) {
	boot := st.host.BootID()
	var c virt.Conn
	end := func(err error) {
		if c != nil {
			_ = c.Close()
		}
		done(err)
	}
	c, err := st.host.Opener()(context.Background(), local, nil)
	if err != nil {
		end(err)
		return
	}
	d, err := c.Domain(context.Background(), uuid)
	xml := ""
	if err == nil {
		xml, err = c.XML(context.Background(), uuid, virt.XMLFlags{Inactive: true})
	}
	switch {
	case err != nil:
	case st.starts[uuid]:
		err = errors.New("another start is under way")
	case d.Present():
		err = &virt.Error{Op: "start", On: uuid, Kind: virt.KindAlreadyRunning}
	}
	if err != nil {
		end(err)
		return
	}
	operations := []hook.Operation{hook.Prepare}
	if d.ManagedSave {
		operations = []hook.Operation{hook.Restore, hook.Prepare}
	}
	st.starts[uuid] = true
	st.running++
	over := func(err error) {
		if st.host.BootID() == boot {
			delete(st.starts, uuid)
			st.running--
		}
		end(err)
	}
	var next func()
	next = func() {
		if len(operations) > 0 {
			op := operations[0]
			operations = operations[1:]
			st.consult(hook.Request{Name: d.Name, Operation: op, XML: xml}, func(err error) {
				if err != nil {
					over(err)
					return
				}
				next()
			})
			return
		}
		s.after(s.between(100*time.Microsecond, 3*time.Millisecond), cause, func() {
			if st.host.BootID() != boot || !st.up() {
				return
			}
			st.verdict[uuid] = nil
			if cause == userStart+nameOf(uuid) {
				s.startsBeside(s.guest(uuid), st)
			}
			err := c.Start(context.Background(), uuid)
			delete(st.verdict, uuid)
			over(err)
			s.check()
		})
	}
	next()
}
