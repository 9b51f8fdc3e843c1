package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

type testWatch struct {
	s    *station
	life int
}

func (w *testWatch) Exit(p virt.Process, gone func(now time.Time)) (func(), error) {
	stop, err := w.s.host.WatchExit(p, func() {
		w.s.w.logf("%s: pidfd of %d fires", w.s.name, p.PID)
		w.s.post(w.life, func() { gone(w.s.w.now()) })
	})
	return func() { stop() }, err
}

// testHands calls the fake at once and posts the outcome.
type testHands struct {
	s    *station
	life int
}

func post[T any](h *testHands, done Done[T], v T, err error) {
	h.s.post(h.life, func() { done(h.s.w.now(), v, err) })
}

func call[T any](h *testHands, done Done[T], do func(ctx context.Context, c virt.Conn) (T, error)) {
	var v T
	c, _, err := h.s.keeper.Conn()
	if err == nil {
		v, err = do(context.Background(), c)
	}
	post(h, done, v, err)
}

func (h *testHands) act(name string, done Done[struct{}], do func(ctx context.Context, c virt.Conn) error) {
	h.s.w.logf("%s: libvirt %s", h.s.name, name)
	call(h, done, func(ctx context.Context, c virt.Conn) (struct{}, error) { return struct{}{}, do(ctx, c) })
}

func (h *testHands) Facts(done Done[Facts]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (Facts, error) { return (&ground{}).facts(ctx, c) })
}

func (h *testHands) List(done Done[[]Seen]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (all []Seen, err error) {
		ds, err := c.Domains(ctx)
		for _, d := range ds {
			all = append(all, (&ground{}).complete(ctx, c, d))
		}
		return all, err
	})
}

func (h *testHands) Look(uuid string, done Done[Seen]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (Seen, error) {
		d, err := c.Domain(ctx, uuid)
		if err != nil {
			return Seen{}, err
		}
		return (&ground{}).complete(ctx, c, d), nil
	})
}

func (h *testHands) Check(uuid string, done Done[Seen]) { h.Look(uuid, done) }

func (h *testHands) XML(uuid string, flags virt.XMLFlags, done Done[string]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (string, error) { return c.XML(ctx, uuid, flags) })
}

func (h *testHands) Survey(q Question, done Done[Ground]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (Ground, error) { return (&ground{}).survey(ctx, c, q) })
}

func (h *testHands) LoggedEnd(name string, done Done[virt.Reason]) {
	call(h, done, func(ctx context.Context, c virt.Conn) (virt.Reason, error) { return c.LoggedEnd(ctx, name) })
}

func (h *testHands) Barrier(done Done[struct{}]) {
	// Not an order: what the fake had sent is in the inbox already, before the outcome.
	call(h, done, func(ctx context.Context, c virt.Conn) (struct{}, error) { return struct{}{}, c.Barrier(ctx) })
}

func (h *testHands) Migrate(p virt.MigrateParams, done Done[struct{}]) {
	h.s.w.logf("%s: libvirt migrate to %s", h.s.name, p.DestURI)
	if _, _, err := h.s.keeper.Conn(); err != nil {
		post(h, done, struct{}{}, fmt.Errorf("%w: %w", ErrNotCalled, err))
		return
	}
	over := false
	end := func(err error) {
		if !over {
			over = true
			post(h, done, struct{}{}, err)
		}
	}
	// The call has a connection of its own, which breaks with libvirtd.
	_, err := h.s.host.Opener()(context.Background(), "qemu:///system", func(e virt.Event) {
		if e.Kind == virt.EventDisconnected {
			end(&virt.Error{Op: "migrate", On: p.UUID, Kind: virt.KindNotConnected, Message: e.Reason})
		}
	})
	if err == nil {
		err = h.s.host.StartMigrate(p, end)
	}
	if err != nil {
		end(err)
	}
}

func (h *testHands) LimitPause(uuid string, limit time.Duration) {
	h.s.limits = append(h.s.limits, limit)
	h.act("limit", func(time.Time, struct{}, error) {}, func(ctx context.Context, c virt.Conn) error {
		return c.SetMaxDowntime(ctx, uuid, uint64(limit.Milliseconds()))
	})
}

func (h *testHands) AbortJob(uuid string, done Done[struct{}]) {
	h.act("abort", done, func(ctx context.Context, c virt.Conn) error { return c.AbortJob(ctx, uuid) })
}

func (h *testHands) Resume(uuid string, want virt.Expect, done Done[struct{}]) {
	h.act("resume", done, func(ctx context.Context, c virt.Conn) error { return c.ResumeIf(ctx, uuid, want) })
}

func (h *testHands) Destroy(uuid string, want virt.Expect, done Done[struct{}]) {
	h.act("destroy", done, func(ctx context.Context, c virt.Conn) error { return c.Destroy(ctx, uuid, want) })
}

func (h *testHands) Define(xml string, done Done[struct{}]) {
	h.act("define", done, func(ctx context.Context, c virt.Conn) error {
		_, err := c.Define(ctx, xml)
		return err
	})
}

func (h *testHands) Undefine(uuid string, opts virt.UndefineOpts, done Done[struct{}]) {
	h.act("undefine", done, func(ctx context.Context, c virt.Conn) error { return c.Undefine(ctx, uuid, opts) })
}

func (h *testHands) SetAutostart(uuid string, on bool, done Done[struct{}]) {
	h.act("autostart", done, func(ctx context.Context, c virt.Conn) error { return c.SetAutostart(ctx, uuid, on) })
}

func (h *testHands) Start(uuid string, done Done[struct{}]) {
	h.act("start", done, func(ctx context.Context, c virt.Conn) error { return c.Start(ctx, uuid) })
}

func (h *testHands) Probe(done Done[struct{}]) { post(h, done, struct{}{}, h.s.unproved) }

func (h *testHands) OpenPeer(attempt, uri string, done Done[struct{}]) {
	c, err := h.s.host.Opener()(context.Background(), uri, nil)
	if err == nil {
		h.s.peers[attempt] = c
	}
	post(h, done, struct{}{}, err)
}

func (h *testHands) peer(attempt string) (virt.Conn, error) {
	if c := h.s.peers[attempt]; c != nil && c.Alive() {
		return c, nil
	}
	return nil, &virt.Error{Op: "reach the target", On: attempt, Kind: virt.KindNotConnected}
}

func (h *testHands) LookPeer(attempt, uuid string, done Done[virt.Domain]) {
	c, err := h.peer(attempt)
	var d virt.Domain
	if err == nil {
		d, err = c.Domain(context.Background(), uuid)
	}
	post(h, done, d, err)
}

func (h *testHands) ResumePeer(attempt, uuid string, done Done[struct{}]) {
	h.s.w.logf("%s: libvirt resume on the peer", h.s.name)
	c, err := h.peer(attempt)
	if err == nil {
		err = c.Resume(context.Background(), uuid)
	}
	post(h, done, struct{}{}, err)
}

func (h *testHands) ClosePeer(attempt string) {
	if c := h.s.peers[attempt]; c != nil {
		_ = c.Close()
	}
	delete(h.s.peers, attempt)
}

func (h *testHands) Virsh(args []string, done Done[*agentv1.VirshResult]) {
	post(h, done, &agentv1.VirshResult{Stdout: []byte(strings.Join(args, " "))}, nil)
}
