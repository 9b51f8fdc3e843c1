package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// hands carry out what an agent wants of libvirt: the call reaches libvirtd a
// little later, its outcome comes back a little after that. Only a barrier's comes
// behind every event that libvirtd had sent before.
type hands struct {
	st   *station
	life int
}

// callWait is after how long nobody waits for a silent libvirtd any more.
const callWait = 15 * time.Second

// back brings an outcome into the agent: before or after events that were sent
// at the same time.
func back[T any](h *hands, done agent.Done[T], v T, err error) {
	s := h.st.s
	if virt.IsTimeout(err) {
		s.after(callWait, "agent "+h.st.name, func() {
			if h.st.life == h.life {
				h.st.do(func() { done(h.st.now(), v, err) })
			}
		})
		return
	}
	h.apart(s.latency(), func() { done(h.st.now(), v, err) })
}

// ask is a question: it changes nothing, and dies with the agent.
func ask[T any](h *hands, done agent.Done[T], question func(ctx context.Context, c virt.Conn) (T, error)) {
	c, _, err := h.st.keeper.Conn()
	cause := "agent " + h.st.name
	h.st.s.after(h.st.s.latency(), cause, func() {
		h.st.reached(cause, func() {
			if h.st.life != h.life {
				return
			}
			var v T
			if err == nil {
				v, err = question(context.Background(), c)
			}
			back(h, done, v, err)
		})
	})
}

// local is the host's own libvirtd.
const local = "qemu:///system"

// tell is a command. Once it is in libvirtd's socket it is carried out, whether
// the agent lives or not; a libvirtd that is frozen may find it there when it
// goes on.
func (h *hands) tell(what, uri string, done agent.Done[struct{}], open func() (virt.Conn, error), command func(ctx context.Context, c virt.Conn) error) {
	st, s := h.st, h.st.s
	c, err := open()
	boot := st.host.BootID()
	unheard := func() {
		if st.host.BootID() != boot || !st.up() {
			return
		}
		if fresh, err := st.host.Opener()(context.Background(), uri, nil); err == nil {
			err = command(context.Background(), fresh)
			s.say("%s: %s is carried out although nobody waits for it: %v", st.name, what, err)
			_ = fresh.Close()
		}
	}
	carryOut := func() {
		if st.life != h.life {
			if err == nil && s.chance(0.5) {
				unheard()
			}
			return
		}
		if err == nil {
			err = command(context.Background(), c)
		}
		s.say("%s: libvirt: %s: %v", st.name, what, err)
		if to := s.at(st, uri); virt.IsTimeout(err) && s.chance(0.5) {
			to.late = append(to.late, late{"agent " + st.name + " " + what, unheard})
		}
		back(h, done, struct{}{}, err)
	}
	cause := "agent " + st.name + " " + what
	s.after(s.latency(), cause, func() { s.at(st, uri).reached(cause, carryOut) })
}

// at finds the station whose libvirtd a URI means.
func (s *Sim) at(from *station, uri string) *station {
	for _, st := range s.hosts {
		if st.host.URI() == uri {
			return st
		}
	}
	return from
}

func (h *hands) own() (virt.Conn, error) {
	c, _, err := h.st.keeper.Conn()
	return c, err
}

func (h *hands) Facts(done agent.Done[agent.Facts]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (agent.Facts, error) { return facts(ctx, c) })
}

func facts(ctx context.Context, c virt.Conn) (agent.Facts, error) {
	info, err := c.Host(ctx)
	return agent.Facts{HostInfo: info, Bridges: []string{"br0"}}, err
}

func (h *hands) List(done agent.Done[[]agent.Seen]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (all []agent.Seen, err error) {
		ds, err := c.Domains(ctx)
		for _, d := range ds {
			all = append(all, agent.Seen{Domain: d})
		}
		return all, err
	})
}

func (h *hands) Look(uuid string, done agent.Done[agent.Seen]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (agent.Seen, error) {
		d, err := c.Domain(ctx, uuid)
		return agent.Seen{Domain: d}, err
	})
}

// Check implements agent.Hands: what an order is obeyed on.
func (h *hands) Check(uuid string, done agent.Done[agent.Seen]) {
	late := func(now time.Time, seen agent.Seen, err error) {
		wait := h.st.lookTakes
		if h.st.lookTakes = 0; wait == 0 {
			done(now, seen, err)
			return
		}
		h.apart(wait, func() { done(h.st.now(), seen, err) })
	}
	ask(h, late, func(ctx context.Context, c virt.Conn) (agent.Seen, error) {
		d, err := c.Domain(ctx, uuid)
		h.st.checked[uuid] = checked{h.st.s.fleet.Now(), d.Present()}
		if !d.Present() {
			h.st.s.cued(uuid, looks, h.st)
		}
		return agent.Seen{Domain: d}, err
	})
}

func (h *hands) XML(uuid string, flags virt.XMLFlags, done agent.Done[string]) {
	h.st.s.cued(uuid, documents, h.st)
	ask(h, done, func(ctx context.Context, c virt.Conn) (string, error) { return c.XML(ctx, uuid, flags) })
}

func (h *hands) Survey(q agent.Question, done agent.Done[agent.Ground]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (g agent.Ground, err error) {
		if g.Facts, err = facts(ctx, c); err != nil {
			return g, err
		}
		d, err := c.Domain(ctx, q.UUID)
		switch {
		case err == nil:
			g.Domain = &d
		case !virt.IsNoDomain(err):
			return g, err
		}
		if g.NameOwner, err = c.Find(ctx, q.Name); err != nil && !virt.IsNoDomain(err) {
			return g, err
		}
		return g, nil
	})
}

func (h *hands) LoggedEnd(name string, done agent.Done[virt.Reason]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (virt.Reason, error) { return c.LoggedEnd(ctx, name) })
}

func (h *hands) Barrier(done agent.Done[struct{}]) {
	st, s := h.st, h.st.s
	c, err := h.own()
	s.after(s.latency(), "agent "+st.name, func() {
		if st.life != h.life {
			return
		}
		if err == nil {
			err = c.Barrier(context.Background())
		}
		if virt.IsTimeout(err) {
			h.apart(callWait, func() { done(h.st.now(), struct{}{}, err) })
			return
		}
		st.deliver(h.life, func() { done(h.st.now(), struct{}{}, err) })
	})
}

// Migrate has a connection of its own, which breaks with libvirtd and is not in
// order with anything else.
func (h *hands) Migrate(p virt.MigrateParams, done agent.Done[struct{}]) {
	st, s := h.st, h.st.s
	over := false
	end := func(err error) {
		if over {
			return
		}
		over = true
		s.after(s.latency(), "agent "+st.name, func() {
			if st.life == h.life {
				st.do(func() { done(h.st.now(), struct{}{}, err) })
			}
		})
	}
	boot := st.host.BootID()
	wait := s.latency()
	if queue := s.queueTime(p, st); queue > 0 { // longer, maybe, than its agent lives
		wait = queue
		s.count("call waits in the queue")
	}
	s.after(wait, "agent "+st.name+" migrate", func() {
		if st.host.BootID() != boot || !st.up() || st.life != h.life && wait < time.Second && s.chance(0.5) {
			return
		}
		_, err := st.host.Opener()(context.Background(), local, func(e virt.Event) {
			if e.Kind == virt.EventDisconnected {
				end(&virt.Error{Op: "migrate", On: p.UUID, Kind: virt.KindNotConnected, Message: e.Reason})
			}
		})
		if err != nil {
			end(fmt.Errorf("%w: %w", agent.ErrNotCalled, err))
			return
		}
		s.say("%s: libvirt: migrate %s to %s, guarded %t", st.name, nameOf(p.UUID), p.DestURI, p.Guarded)
		if err := st.host.StartMigrate(p, end); err != nil {
			end(err)
		}
	})
}

// LimitPause does nothing: how long a guest may stand still decides nothing that
// the invariants speak of.
func (h *hands) LimitPause(string, time.Duration) {}

func (h *hands) AbortJob(uuid string, done agent.Done[struct{}]) {
	h.tell("abort "+nameOf(uuid), local, done, h.own, func(ctx context.Context, c virt.Conn) error { return c.AbortJob(ctx, uuid) })
}

func (h *hands) Resume(uuid string, want virt.Expect, done agent.Done[struct{}]) {
	h.tell("resume "+nameOf(uuid), local, done, h.own, func(ctx context.Context, c virt.Conn) error { return c.ResumeIf(ctx, uuid, want) })
}

func (h *hands) Destroy(uuid string, want virt.Expect, done agent.Done[struct{}]) {
	wait := h.st.destroyTakes
	h.st.destroyTakes = 0
	h.st.s.after(wait, "agent "+h.st.name, func() {
		h.tell("destroy "+nameOf(uuid), local, done, h.own, func(ctx context.Context, c virt.Conn) error { return c.Destroy(ctx, uuid, want) })
	})
}

func (h *hands) Define(xml string, done agent.Done[struct{}]) {
	h.tell("define", local, done, h.own, func(ctx context.Context, c virt.Conn) error {
		_, err := c.Define(ctx, xml)
		return err
	})
}

func (h *hands) Undefine(uuid string, opts virt.UndefineOpts, done agent.Done[struct{}]) {
	h.tell("undefine "+nameOf(uuid), local, done, h.own, func(ctx context.Context, c virt.Conn) error {
		err := c.Undefine(ctx, uuid, opts)
		h.st.s.undefined(uuid, h.st.name)
		return err
	})
}

func (h *hands) Start(uuid string, done agent.Done[struct{}]) {
	st, s := h.st, h.st.s
	cause := "agent " + st.name + " start " + nameOf(uuid)
	s.after(s.latency(), cause, func() {
		if st.life != h.life && s.chance(0.5) {
			return
		}
		s.starts(st, uuid, cause, func(err error) {
			s.say("%s: libvirt: start %s: %v", st.name, nameOf(uuid), err)
			if st.life == h.life {
				back(h, done, struct{}{}, err)
			}
		})
	})
}

// Probe finds the hook at once: the simulated libvirtd calls it whenever there is one.
func (h *hands) Probe(done agent.Done[struct{}]) { back(h, done, struct{}{}, nil) }

func (h *hands) SetAutostart(uuid string, on bool, done agent.Done[struct{}]) {
	h.tell("autostart "+nameOf(uuid), local, done, h.own, func(ctx context.Context, c virt.Conn) error { return c.SetAutostart(ctx, uuid, on) })
}

func (h *hands) OpenPeer(attempt, uri string, done agent.Done[struct{}]) {
	st, s := h.st, h.st.s
	s.after(s.latency(), "agent "+st.name, func() {
		if st.life != h.life {
			return
		}
		c, err := st.host.Opener()(context.Background(), uri, nil)
		if err == nil {
			if old := st.peers[attempt]; old != nil {
				_ = old.Close()
			}
			st.peers[attempt], st.peerURI[attempt] = c, uri
		}
		wait := s.latency()
		if virt.IsTimeout(err) {
			wait = 5 * time.Second
		}
		h.apart(wait, func() { done(h.st.now(), struct{}{}, err) })
	})
}

// apart brings something into the agent that is in no order with libvirt's
// other words.
func (h *hands) apart(wait time.Duration, f func()) {
	h.st.s.after(wait, "agent "+h.st.name, func() {
		if h.st.life == h.life {
			h.st.do(f)
		}
	})
}

func (h *hands) peer(attempt string) (virt.Conn, error) {
	if c := h.st.peers[attempt]; c != nil && c.Alive() {
		return c, nil
	}
	return nil, &virt.Error{Op: "reach the target", On: attempt, Kind: virt.KindNotConnected}
}

func (h *hands) LookPeer(attempt, uuid string, done agent.Done[virt.Domain]) {
	st, s := h.st, h.st.s
	s.after(s.latency(), "agent "+st.name, func() {
		if st.life != h.life {
			return
		}
		var d virt.Domain
		c, err := h.peer(attempt)
		if err == nil {
			d, err = c.Domain(context.Background(), uuid)
		}
		wait := s.latency()
		if virt.IsTimeout(err) {
			wait = callWait
		}
		h.apart(wait, func() { done(h.st.now(), d, err) })
	})
}

func (h *hands) ResumePeer(attempt, uuid string, done agent.Done[struct{}]) {
	h.tell("resume on the peer "+nameOf(uuid), h.st.peerURI[attempt], done, func() (virt.Conn, error) { return h.peer(attempt) },
		func(ctx context.Context, c virt.Conn) error { return c.Resume(ctx, uuid) })
}

func (h *hands) ClosePeer(attempt string) {
	if c := h.st.peers[attempt]; c != nil {
		_ = c.Close()
	}
	delete(h.st.peers, attempt)
}

func (h *hands) Virsh(_ []string, done agent.Done[*agentv1.VirshResult]) {
	h.apart(h.st.s.latency(), func() { done(h.st.now(), &agentv1.VirshResult{}, nil) })
}

// watch tells the ends of processes, in no order with what libvirt says.
type watch struct {
	st   *station
	life int
}

func (w *watch) Exit(p virt.Process, gone func(now time.Time)) (func(), error) {
	st, s := w.st, w.st.s
	stop, err := st.host.WatchExit(p, func() {
		s.after(s.latency(), "agent "+st.name, func() {
			if st.life == w.life {
				st.do(func() { gone(st.now()) })
			}
		})
	})
	return func() { stop() }, err
}
