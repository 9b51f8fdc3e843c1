package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vireo-kvm/vireo/agent/wire/join"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/store"
)

// Clock is the only source of time. Now carries a monotonic reading.
type Clock interface {
	Now() time.Time
	// Tick sends the time about every d until stop is called.
	Tick(d time.Duration) (c <-chan time.Time, stop func())
}

// Issuer makes certificates and join tokens; *pki.CA is one.
type Issuer interface {
	IssueAgent(csr []byte, host string, now time.Time) (pki.Issued, error)
	RenewAgent(csr []byte, peer pki.Peer, now time.Time) (pki.Issued, error)
	CertPEM() []byte
	NewToken() join.Token
}

// Options is what a Manager is made of. All fields but Log, NewID, Version, Leads and Ends are needed.
type Options struct {
	Store    store.Store
	Readings store.Readings
	Config   configs.Manager
	Clock    Clock
	Issuer   Issuer
	Scorer   Scorer
	Log      *slog.Logger
	// NewID makes ids of decisions, migrations, sessions and orders; nil: random ones.
	NewID   func(prefix string) string
	Version string
	// Leads says whether this manager still leads; nil: always. Run ends when it
	// does not, before it takes another input.
	Leads func() bool
	// Ends says when the manager's certificate and its CA's end; nil: nobody warns.
	Ends func() (own, ca time.Time)
}

const (
	tick      = 100 * time.Millisecond
	inboxSize = 256
)

var (
	_ serve.Agents                           = (*Manager)(nil)
	_ managerv1connect.ManagerServiceHandler = (*Manager)(nil)
)

// Manager is the loop around one Core. New prepares it, Run works until its
// context ends; every other method may be called from any goroutine and waits
// for the loop.
type Manager struct {
	core   *Core
	clock  Clock
	log    *slog.Logger
	store  store.Store
	issuer Issuer
	inbox  chan func(now time.Time)
	ended  chan struct{}
	work   *worker
	facts  facts
	leads  func() bool
}

// New reads everything from the store. It does not write and starts nothing.
func New(ctx context.Context, o Options) (*Manager, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	m := &Manager{
		leads: o.Leads,
		clock: o.Clock, log: o.Log, store: o.Store, issuer: o.Issuer,
		inbox: make(chan func(time.Time), inboxSize),
		ended: make(chan struct{}),
		work:  newWorker(),
		facts: facts{version: o.Version, started: o.Clock.Now()},
	}
	core, err := NewCore(ctx, Setup{
		Store: o.Store, Readings: o.Readings, Scorer: o.Scorer, Background: m.work,
		Policy: PolicyFrom(o.Config), Log: o.Log, NewID: o.NewID, Ends: o.Ends,
	}, o.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	m.core = core
	m.learnRevoked()
	return m, nil
}

// Run works until ctx ends or the store has been taken over by another manager.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(m.ended) // the worker may be waiting to be heard
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticks, stop := m.clock.Tick(tick)
	defer stop()
	wg.Go(func() { m.work.run(wctx, m.post) })
	m.core.Start(m.clock.Now())
	for {
		var next func(now time.Time)
		select {
		case <-ctx.Done():
			m.core.Stop(m.clock.Now())
			return nil
		case next = <-m.inbox:
		case <-ticks:
			next = m.core.Tick
		}
		if err := m.core.Take(m.leads, func() { next(m.clock.Now()) }); err != nil {
			return err
		}
	}
}

var errEnded = apierr.New(apierr.Unavailable, "the manager is stopping")

// post hands f to the loop and does not wait for it.
func (m *Manager) post(f func(now time.Time)) {
	select {
	case m.inbox <- f:
	case <-m.ended:
	}
}

// do runs f in the loop and waits until it is done. When it returns f does not
// run and never will: what f writes may be read. A caller whose ctx ends while f
// waits for its turn is not served; once f has begun it is waited for.
func (m *Manager) do(ctx context.Context, f func(now time.Time)) error {
	var taken atomic.Bool
	done := make(chan struct{})
	select {
	case m.inbox <- func(now time.Time) {
		if taken.CompareAndSwap(false, true) {
			defer close(done)
			f(now)
		}
	}:
	case <-m.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-m.ended:
		return errEnded
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	}
	select {
	case <-done:
		return nil
	case <-m.ended:
		return errEnded
	}
}

// Connect implements serve.Agents.
func (m *Manager) Connect(ctx context.Context, peer pki.Peer, hello *agentv1.Hello, link serve.Link) (serve.Session, error) {
	var s *Session
	if err := m.do(ctx, func(now time.Time) { s = m.core.Connect(now, peer, hello, link) }); err != nil {
		return nil, err
	}
	return &conversation{m, s}, nil
}

// conversation carries one session's messages into the loop.
type conversation struct {
	m *Manager
	s *Session
}

func (c *conversation) Received(msg *agentv1.AgentMessage) {
	c.m.post(func(now time.Time) { c.m.core.Received(now, c.s, msg) })
}

func (c *conversation) Closed(err error) {
	c.m.post(func(now time.Time) { c.m.core.Closed(now, c.s, err) })
}

// worker does slow things one after the other, off the loop.
type worker struct {
	mu    sync.Mutex
	queue []job
	wake  chan struct{}
}

type job struct {
	work func(ctx context.Context) error
	done func(now time.Time, err error)
}

func newWorker() *worker { return &worker{wake: make(chan struct{}, 1)} }

// Go implements Background.
func (w *worker) Go(work func(ctx context.Context) error, done func(now time.Time, err error)) {
	w.mu.Lock()
	w.queue = append(w.queue, job{work, done})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) take() (job, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return job{}, false
	}
	j := w.queue[0]
	w.queue = w.queue[1:]
	return j, true
}

func (w *worker) run(ctx context.Context, post func(func(time.Time))) {
	for ctx.Err() == nil {
		j, ok := w.take()
		if !ok {
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
			continue
		}
		err := j.work(ctx)
		if errors.Is(err, context.Canceled) {
			return
		}
		post(func(now time.Time) { j.done(now, err) })
	}
}
