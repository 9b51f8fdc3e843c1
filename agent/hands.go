package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Deadlines of calls that have none of their own in virt, and of peers that may
// not be there at all.
const (
	barrierWait = 10 * time.Second
	peerWait    = 5 * time.Second
	virshWait   = 30 * time.Second
)

// questionsAtOnce is how many questions are put to libvirtd at a time, of the
// five that it answers at once on one connection.
const questionsAtOnce = 4

// hands is the production Hands: each call blocks on a goroutine of its own and
// posts its outcome into the loop.
//
// Two connections lead to the host's libvirtd. A question about a domain whose
// process is just ending waits for 200 ms and more; neither the round trip that
// decides how a process ended nor a resumption may wait behind it.
type hands struct {
	ctx    context.Context
	cfg    Config
	deps   Deps
	orders *virt.Keeper // carries the events, the barriers and what orders need
	asks   *virt.Keeper // carries all other questions
	post   func(func(now time.Time))
	wg     sync.WaitGroup
	asking chan struct{} // limits questions
	ground ground

	mu    sync.Mutex // guards peers
	peers map[string]virt.Conn
}

func newHands(ctx context.Context, cfg Config, deps Deps, post func(func(now time.Time)), sink virt.Sink) *hands {
	return &hands{
		ctx: ctx, cfg: cfg, deps: deps, post: post,
		orders: virt.NewKeeper(deps.Open, cfg.LibvirtURI, sink),
		asks:   virt.NewKeeper(deps.Open, cfg.LibvirtURI, nil),
		asking: make(chan struct{}, questionsAtOnce),
		ground: ground{sys: cfg.SysRoot, memory: deps.Memory},
		peers:  map[string]virt.Conn{},
	}
}

// run does work elsewhere and hands its outcome to done inside the loop.
func run[T any](h *hands, done Done[T], work func(ctx context.Context) (T, error)) {
	h.wg.Go(func() {
		value, err := work(h.ctx)
		h.post(func(now time.Time) { done(now, value, err) })
	})
}

// ensure opens what is not open. The connection that carries the events comes
// last: with it the Core begins to ask.
func (h *hands) ensure(ctx context.Context, now time.Time) error {
	if err := h.asks.Ensure(ctx, now); err != nil {
		return err
	}
	return h.orders.Ensure(ctx, now)
}

// ask runs a question on the connection for questions.
func ask[T any](h *hands, done Done[T], question func(ctx context.Context, c virt.Conn) (T, error)) {
	run(h, done, func(ctx context.Context) (none T, err error) {
		select {
		case h.asking <- struct{}{}:
			defer func() { <-h.asking }()
		case <-ctx.Done():
			return none, ctx.Err()
		}
		c, _, err := h.asks.Conn()
		if err != nil {
			return none, err
		}
		return question(ctx, c)
	})
}

// urge runs what an order needs, at once.
func urge[T any](h *hands, done Done[T], work func(ctx context.Context, c virt.Conn) (T, error)) {
	run(h, done, func(ctx context.Context) (none T, err error) {
		c, _, err := h.orders.Conn()
		if err != nil {
			return none, err
		}
		return work(ctx, c)
	})
}

// tell runs a command, at once.
func (h *hands) tell(done Done[struct{}], command func(ctx context.Context, c virt.Conn) error) {
	urge(h, done, func(ctx context.Context, c virt.Conn) (struct{}, error) { return struct{}{}, command(ctx, c) })
}

func (h *hands) Facts(done Done[Facts]) { ask(h, done, h.ground.facts) }

func (h *hands) List(done Done[[]Seen]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) ([]Seen, error) {
		ds, err := c.Domains(ctx)
		if err != nil {
			return nil, err
		}
		all := make([]Seen, 0, len(ds))
		ids := make(map[string]int, len(ds))
		for _, d := range ds {
			all = append(all, h.ground.complete(ctx, c, d))
			ids[d.UUID] = d.ID
		}
		h.ground.forget(ids)
		return all, nil
	})
}

func (h *hands) Look(uuid string, done Done[Seen]) { ask(h, done, h.seen(uuid)) }

func (h *hands) Check(uuid string, done Done[Seen]) { urge(h, done, h.seen(uuid)) }

func (h *hands) seen(uuid string) func(ctx context.Context, c virt.Conn) (Seen, error) {
	return func(ctx context.Context, c virt.Conn) (Seen, error) {
		d, err := c.Domain(ctx, uuid)
		if err != nil {
			return Seen{}, err
		}
		return h.ground.complete(ctx, c, d), nil
	}
}

func (h *hands) XML(uuid string, flags virt.XMLFlags, done Done[string]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (string, error) { return c.XML(ctx, uuid, flags) })
}

func (h *hands) Survey(q Question, done Done[Ground]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (Ground, error) { return h.ground.survey(ctx, c, q) })
}

func (h *hands) LoggedEnd(name string, done Done[virt.Reason]) {
	ask(h, done, func(ctx context.Context, c virt.Conn) (virt.Reason, error) { return c.LoggedEnd(ctx, name) })
}

func (h *hands) Barrier(done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, barrierWait)
		defer cancel()
		return c.Barrier(ctx)
	})
}

// Migrate opens a connection of its own: the call occupies one of the few that
// libvirtd answers at once for as long as the move lasts.
func (h *hands) Migrate(p virt.MigrateParams, done Done[struct{}]) {
	run(h, done, func(ctx context.Context) (struct{}, error) {
		c, err := h.deps.Open(ctx, h.cfg.LibvirtURI, nil)
		if err != nil {
			return struct{}{}, fmt.Errorf("%w: %w", ErrNotCalled, err)
		}
		defer c.Close()
		return struct{}{}, c.Migrate(ctx, p)
	})
}

func (h *hands) LimitPause(uuid string, limit time.Duration) {
	done := func(_ time.Time, _ struct{}, err error) {
		if err != nil {
			h.deps.Log.Debug("maximum downtime not set", "domain", uuid, "error", err)
		}
	}
	h.tell(done, func(ctx context.Context, c virt.Conn) error {
		return c.SetMaxDowntime(ctx, uuid, uint64(limit.Milliseconds()))
	})
}

func (h *hands) AbortJob(uuid string, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error { return c.AbortJob(ctx, uuid) })
}

func (h *hands) Resume(uuid string, want virt.Expect, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error { return c.ResumeIf(ctx, uuid, want) })
}

func (h *hands) Destroy(uuid string, want virt.Expect, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error { return c.Destroy(ctx, uuid, want) })
}

func (h *hands) Define(xml string, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error {
		_, err := c.Define(ctx, xml)
		return err
	})
}

func (h *hands) Undefine(uuid string, opts virt.UndefineOpts, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error { return c.Undefine(ctx, uuid, opts) })
}

func (h *hands) SetAutostart(uuid string, on bool, done Done[struct{}]) {
	h.tell(done, func(ctx context.Context, c virt.Conn) error { return c.SetAutostart(ctx, uuid, on) })
}

func (h *hands) Start(uuid string, done Done[struct{}]) {
	h.alone(done, func(ctx context.Context, c virt.Conn) error { return c.Start(ctx, uuid) })
}

func (h *hands) Probe(done Done[struct{}]) { h.alone(done, hook.Probe) }

// alone runs what may take as long as a guest's start, on a connection of its own.
func (h *hands) alone(done Done[struct{}], work func(ctx context.Context, c virt.Conn) error) {
	run(h, done, func(ctx context.Context) (struct{}, error) {
		c, err := h.deps.Open(ctx, h.cfg.LibvirtURI, nil)
		if err != nil {
			return struct{}{}, err
		}
		defer c.Close()
		return struct{}{}, work(ctx, c)
	})
}

func (h *hands) OpenPeer(attempt, uri string, done Done[struct{}]) {
	run(h, done, func(ctx context.Context) (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, peerWait)
		defer cancel()
		c, err := h.deps.Open(ctx, uri, nil)
		if err != nil {
			return struct{}{}, err
		}
		h.mu.Lock()
		old := h.peers[attempt]
		h.peers[attempt] = c
		h.mu.Unlock()
		if old != nil {
			_ = old.Close() // replaced
		}
		return struct{}{}, nil
	})
}

func (h *hands) peer(attempt string) (virt.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.peers[attempt]
	if c == nil || !c.Alive() {
		return nil, &virt.Error{Op: "reach the target", On: attempt, Kind: virt.KindNotConnected}
	}
	return c, nil
}

func (h *hands) LookPeer(attempt, uuid string, done Done[virt.Domain]) {
	run(h, done, func(ctx context.Context) (virt.Domain, error) {
		c, err := h.peer(attempt)
		if err != nil {
			return virt.Domain{}, err
		}
		return c.Domain(ctx, uuid)
	})
}

func (h *hands) ResumePeer(attempt, uuid string, done Done[struct{}]) {
	run(h, done, func(ctx context.Context) (struct{}, error) {
		c, err := h.peer(attempt)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, c.Resume(ctx, uuid)
	})
}

func (h *hands) ClosePeer(attempt string) {
	h.mu.Lock()
	c := h.peers[attempt]
	delete(h.peers, attempt)
	h.mu.Unlock()
	if c != nil {
		// Closing may wait for a peer that does not answer.
		h.wg.Go(func() { _ = c.Close() })
	}
}

func (h *hands) Virsh(args []string, done Done[*agentv1.VirshResult]) {
	run(h, done, func(ctx context.Context) (*agentv1.VirshResult, error) {
		if h.deps.Virsh == nil {
			return nil, errors.New("this agent runs no virsh")
		}
		ctx, cancel := context.WithTimeout(ctx, virshWait)
		defer cancel()
		return h.deps.Virsh(ctx, args), nil
	})
}

// close ends every connection and waits for what is under way. A migration that
// libvirt was asked for goes on.
func (h *hands) close() {
	h.mu.Lock()
	peers := h.peers
	h.peers = map[string]virt.Conn{}
	h.mu.Unlock()
	for _, c := range peers {
		_ = c.Close()
	}
	_ = h.asks.Close()
	_ = h.orders.Close()
	h.wg.Wait()
}
