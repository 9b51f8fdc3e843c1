package whole

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// house is the fleet. It lives in a bubble of time (testing/synctest).
type house struct {
	t      *testing.T
	rng    *rand.Rand
	fleet  *virttest.Fleet
	names  []string
	guests []string // UUIDs
	dir    string
	log    lockedBuffer

	mu      sync.Mutex
	manager *manager.Manager // nil while it is away
	end     func()           // ends it and waits
	lines   map[string]*pipe // the open sessions, by host
	away    map[string]bool  // hosts that do not reach the manager
	agents  map[string]func()
	double  string // what ran twice, or with old memory, once it did
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(l.b.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// clock is the bubble's.
type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

func (clock) Tick(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// pipe is a session: the agent's end is an agent.Session, the manager's a serve.Link.
type pipe struct {
	down chan *agentv1.ManagerMessage
	up   chan *agentv1.AgentMessage
	end  chan struct{}
	once sync.Once
}

var errOver = errors.New("the session is over")

func (p *pipe) Close() { p.once.Do(func() { close(p.end) }) }

func (p *pipe) Send(m *agentv1.AgentMessage) error {
	select {
	case p.up <- m:
		return nil
	case <-p.end:
		return errOver
	}
}

func (p *pipe) Recv() (*agentv1.ManagerMessage, error) {
	select {
	case m := <-p.down:
		return m, nil
	case <-p.end:
		return nil, errOver
	}
}

type link struct{ *pipe }

func (l link) Send(m *agentv1.ManagerMessage) error {
	select {
	case l.down <- m:
		return nil
	case <-l.end:
		return errOver
	default:
		return errors.New("the queue is full")
	}
}

func (l link) Close(error) { l.pipe.Close() }

// build makes hosts h1…, all guests running on h1 with so many bytes to copy, and
// starts everybody.
func build(t *testing.T, seed uint64, hosts, guests int, memory uint64) *house {
	t.Helper()
	h := &house{t: t, rng: rand.New(rand.NewPCG(seed, 7)), dir: t.TempDir(), lines: map[string]*pipe{}, away: map[string]bool{}, agents: map[string]func(){}}
	for i := range hosts {
		h.names = append(h.names, fmt.Sprintf("h%d", i+1))
	}
	h.fleet = virttest.NewFleet(h.names, virttest.WithPatience(10*time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	var world sync.WaitGroup
	world.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			h.fleet.Advance(time.Millisecond)
			h.look()
		}
	})
	for _, n := range h.names {
		h.fleet.Host(n).SetBridges("br0")
	}
	conn, err := h.fleet.Host("h1").Opener()(t.Context(), "qemu:///system", nil)
	h.must(err)
	for i := range guests {
		name := fmt.Sprintf("g%d", i+1)
		uuid := fmt.Sprintf("11111111-2222-3333-4444-5555555555%02d", i+1)
		_, err := conn.Define(t.Context(), virttest.GuestXML(name, uuid, 128<<10))
		h.must(err)
		h.must(conn.SetAutostart(t.Context(), uuid, true))
		h.must(conn.Start(t.Context(), uuid))
		h.fleet.Host("h1").SetLoad(uuid, memory, 1<<20)
		h.guests = append(h.guests, uuid)
	}
	conn.Close()
	h.enrol()
	h.startManager()
	for _, n := range h.names {
		h.startAgent(n)
	}
	t.Cleanup(func() {
		for _, stop := range h.agents {
			stop()
		}
		h.stopManager()
		cancel()
		world.Wait()
		if t.Failed() {
			t.Logf("the last lines of everybody's log:\n%s", h.log.tail(150))
		}
	})
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// look is an eye that never closes: no guest runs twice, not for a millisecond.
func (h *house) look() {
	say := func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.double == "" {
			h.double = fmt.Sprintf(format, args...)
		}
	}
	for _, g := range h.guests {
		if on := h.fleet.RunningOn(g); len(on) > 1 {
			say("%s runs on %v at %s", g, on, h.fleet.Now())
		}
	}
	for _, g := range h.fleet.Guests() {
		if g.Revived {
			say("%s runs on %s with old memory at %s", g.UUID, g.Host, h.fleet.Now())
		}
	}
}

func (h *house) database() string { return filepath.Join(h.dir, "vireo.db") }

func (h *house) enrol() {
	db, err := sqlite.Open(h.t.Context(), h.database())
	h.must(err)
	h.must(db.Update(h.t.Context(), func(tx store.Tx) error {
		for _, n := range h.names {
			if err := tx.PutHost(store.Host{Name: n, MachineID: "machine-" + n, CertSerial: "serial-" + n, Enrolled: time.Now(), State: store.Healthy, StateSince: time.Now(), Heard: 1}); err != nil {
				return err
			}
		}
		return nil
	}))
	h.must(db.Close())
}

func (h *house) logger(who string) *slog.Logger {
	return slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", who)
}

func (h *house) startManager() {
	db, err := sqlite.Open(context.Background(), h.database())
	h.must(err)
	cfg := configs.DefaultManager()
	model, err := pfa.Default()
	h.must(err)
	ca, err := pki.NewCA(time.Now())
	h.must(err)
	m, err := manager.New(context.Background(), manager.Options{
		Store: db, Readings: db, Config: cfg, Clock: clock{}, Issuer: ca, Scorer: manager.ModelScorer{Model: model}, Log: h.logger("manager"), Version: "test",
	})
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manager = m
	h.end = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("manager: %v", err)
		}
		h.must(db.Close())
	}
}

func (h *house) stopManager() {
	h.mu.Lock()
	end, lines := h.end, h.lines
	h.manager, h.end, h.lines = nil, nil, map[string]*pipe{}
	h.mu.Unlock()
	for _, p := range lines {
		p.Close()
	}
	if end != nil {
		end()
	}
}

// dial is how a host's agent reaches the manager.
func (h *house) dial(name string) agent.Dialer {
	return func(ctx context.Context, hello *agentv1.Hello) (agent.Session, error) {
		select {
		case <-time.After(200 * time.Millisecond): // its backoff
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		h.mu.Lock()
		m, away := h.manager, h.away[name]
		h.mu.Unlock()
		if m == nil || away {
			return nil, errors.New("connection refused")
		}
		p := &pipe{down: make(chan *agentv1.ManagerMessage, 4096), up: make(chan *agentv1.AgentMessage), end: make(chan struct{})}
		s, err := m.Connect(ctx, pki.Peer{Host: name, Serial: "serial-" + name}, hello, link{p})
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		h.lines[name] = p
		h.mu.Unlock()
		go pump(p, s)
		return p, nil
	}
}

func pump(p *pipe, s serve.Session) {
	for {
		select {
		case m := <-p.up:
			s.Received(m)
		case <-p.end:
			s.Closed(nil)
			return
		}
	}
}

// cut ends a host's session; with stay it does not get another one.
func (h *house) cut(name string, stay bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away[name] = stay
	if p := h.lines[name]; p != nil {
		p.Close()
	}
}

func (h *house) startAgent(name string) {
	host := h.fleet.Host(name)
	sys := h.t.TempDir()
	h.must(os.MkdirAll(filepath.Join(sys, "class/net/br0/bridge"), 0o755))
	a, err := agent.New(agent.Config{
		Host: name, MachineID: "machine-" + name, BootID: host.BootID(), Version: "test", LibvirtURI: "qemu:///system", PeerURI: host.URI(),
		Journal: filepath.Join(h.dir, name+".journal"), JournalCopy: filepath.Join(h.dir, name+".copy"), SysRoot: sys, ReportInterval: 5 * time.Second,
	}, agent.Deps{
		Clock: clock{}, Dial: h.dial(name), Open: host.Opener(), Exits: host,
		Memory: func() (uint64, error) { return 8 << 20, nil }, Log: h.logger(name),
	})
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.agents[name] = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("agent %s: %v", name, err)
		}
	})
}

// reads are of the API, as an operator sees it.
func (h *house) host(name string) *managerv1.Host {
	h.mu.Lock()
	m := h.manager
	h.mu.Unlock()
	if m == nil {
		return &managerv1.Host{}
	}
	res, err := m.GetHost(h.t.Context(), connect.NewRequest(&managerv1.GetHostRequest{Name: name}))
	if err != nil {
		return &managerv1.Host{}
	}
	return res.Msg.GetHost()
}

func (h *house) claims() map[string]*managerv1.Claim {
	out := map[string]*managerv1.Claim{}
	res, err := h.manager.ListClaims(h.t.Context(), connect.NewRequest(&managerv1.ListClaimsRequest{}))
	h.must(err)
	for _, c := range res.Msg.GetClaims() {
		out[c.GetDomain()] = c
	}
	return out
}

func (h *house) migrations(open bool) []*managerv1.Migration {
	res, err := h.manager.ListMigrations(h.t.Context(), connect.NewRequest(&managerv1.ListMigrationsRequest{OpenOnly: open, Limit: 1000}))
	h.must(err)
	return res.Msg.GetMigrations()
}

func (h *house) evacuate(name string) {
	h.t.Helper()
	_, err := h.manager.EvacuateHost(serve.WithActor(h.t.Context(), pki.Actor{Name: "alice", Role: pki.Operator}), connect.NewRequest(&managerv1.EvacuateHostRequest{Host: name, Reason: "a test"}))
	h.must(err)
}

func (h *house) until(what string, limit time.Duration, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// ready waits until every guest is claimed and confirmed.
func (h *house) ready() {
	h.t.Helper()
	h.until("everything is claimed", 30*time.Second, func() bool {
		if len(h.claims()) != len(h.guests) {
			return false
		}
		return !slices.ContainsFunc(h.names, func(n string) bool { return h.host(n).GetState() == "unknown" })
	})
	time.Sleep(time.Second)
}

// verdict holds what must be true once everybody is well again.
func (h *house) verdict() {
	h.t.Helper()
	h.mu.Lock()
	double := h.double
	h.mu.Unlock()
	if double != "" {
		h.t.Error(double)
	}
	claims := h.claims()
	for _, g := range h.guests {
		on, cl := h.fleet.RunningOn(g), claims[g]
		if len(on) != 1 {
			h.t.Errorf("%s runs on %v", g, on)
			continue
		}
		if cl.GetHolder() != on[0] || cl.GetPhase() != "held" {
			h.t.Errorf("%s runs on %s, its claim is %v", g, on[0], cl)
		}
	}
	for _, m := range h.migrations(false) {
		if m.GetOutcome() != "" && m.GetOutcomeReason() == "" {
			h.t.Errorf("migration %s ended without a reason", m.GetId())
		}
	}
	for _, g := range h.fleet.Guests() {
		if !g.Running() {
			h.t.Errorf("a copy of %s stands still on %s: %s (%s)", g.UUID, g.Host, g.State, g.Reason)
		}
	}
}
