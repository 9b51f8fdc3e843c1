package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// world is a fleet of scripted agents around one real Core on a real store. Time
// moves when a test says so; nothing happens at the same time.
type world struct {
	t     testing.TB
	path  string
	db    *sqlite.DB
	store *faultyStore
	core  *Core
	pol   Policy
	score *fakeScorer
	now   time.Time
	ids   int
	hosts map[string]*fakeHost
	jobs  []job
	log   []string

	// lose says which orders never arrive, dup which arrive twice.
	lose, dup func(to string, o *agentv1.Order) bool
	orders    []string // every order that arrived: "host kind domain"
}

// faultyStore lets a test end the manager at any commit.
type faultyStore struct {
	store.Store
	updates int
	crashAt int  // the manager dies at this update; 0: never
	after   bool // once it is durable, not before
	full    bool // the disk
}

type crash struct{}

func (s *faultyStore) Update(ctx context.Context, f func(tx store.Tx) error) error {
	s.updates++
	if s.full {
		return fmt.Errorf("a test: %w", store.ErrFull)
	}
	if s.updates == s.crashAt && !s.after {
		panic(crash{})
	}
	err := s.Store.Update(ctx, f)
	if s.updates == s.crashAt {
		panic(crash{})
	}
	return err
}

// fakeScorer has the risk that a test gives to each host.
type fakeScorer struct {
	risk    map[string]decide.Risk
	threats map[string][]decide.Threat
}

type fakeMemory struct{ component string }

func (fakeMemory) Observe(signal.Reading)    {}
func (fakeMemory) Snapshot() ([]byte, error) { return []byte("fake"), nil }
func (s *fakeScorer) Name() string           { return "fake" }
func (s *fakeScorer) set(h string, p30 float64) {
	s.risk[h] = decide.Risk{P24h: p30 / 20, P7d: p30 / 4, P30d: p30, Model: "fake", Reasons: []decide.Reason{{Signal: "smart_5_raw", Text: fmt.Sprintf("a test wants %.0f", p30), Weight: 1}}}
}
func (s *fakeScorer) Memory(component string, _ []byte) (Memory, error) {
	return fakeMemory{component}, nil
}

func (s *fakeScorer) Assess(host string, components []Memory, _ []store.Dependency, at time.Time) Assessment {
	r := s.risk[host]
	r.At = at
	out := Assessment{Host: r, Threats: slices.Clone(s.threats[host])}
	for _, m := range components {
		out.Components = append(out.Components, store.ComponentRisk{Host: host, Component: m.(fakeMemory).component, Score: storeRisk(r), Impact: "a test's"})
	}
	return out
}

func testPolicy() Policy {
	cfg := configs.DefaultManager()
	cfg.Mode = configs.ModeAuto
	cfg.Hold, cfg.HoldReadings = 0, 1
	return PolicyFrom(cfg)
}

const gib = 1 << 20 // KiB

func newWorld(t testing.TB, hosts ...string) *world {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "vireo-manager-test"); err == nil {
		dir = shm
		t.Cleanup(func() { os.RemoveAll(shm) })
	}
	w := &world{
		t: t, path: filepath.Join(dir, "vireo.db"), pol: testPolicy(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		hosts: map[string]*fakeHost{}, score: &fakeScorer{risk: map[string]decide.Risk{}, threats: map[string][]decide.Threat{}},
	}
	w.open()
	t.Cleanup(func() { w.db.Close() })
	for i, name := range hosts {
		w.enrol(name, i)
	}
	w.start()
	return w
}

func (w *world) open() {
	db, err := sqlite.Open(context.Background(), w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	w.store = &faultyStore{Store: db}
}

func (w *world) enrol(name string, i int) {
	err := w.db.Update(context.Background(), func(tx store.Tx) error {
		return tx.PutHost(store.Host{Name: name, LibvirtUUID: "uuid-" + name, MachineID: "machine-" + name, CertSerial: "serial-" + name, Enrolled: w.now, State: store.Healthy, StateSince: w.now, Heard: 1})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hosts[name] = &fakeHost{w: w, name: name, boot: "boot-" + name + "-1", domains: map[string]*fakeDomain{}, libvirtd: true, memory: 64 * gib, index: i}
}

// start makes a new Core, as a manager that starts does, and connects all hosts.
func (w *world) start() {
	c, err := NewCore(context.Background(), Setup{Store: w.store, Readings: w.db, Scorer: w.score, Background: w, Policy: w.pol,
		Log:   slog.New(slog.NewTextHandler(testWriter{w}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NewID: func(p string) string { w.ids++; return fmt.Sprintf("%s-%d", p, w.ids) }}, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.core = c
	w.do(func() { c.Start(w.now) })
	for _, h := range w.sorted() {
		if !h.away {
			h.connect()
		}
	}
	w.settle()
}

// restart ends the manager as kill -9 does, and starts another one.
func (w *world) restart() {
	w.core = nil
	w.jobs = nil
	for _, h := range w.hosts {
		h.inbox, h.outbox, h.session = nil, nil, nil
	}
	if err := w.db.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	w.say("--- the manager restarts")
	w.start()
}

// Go implements Background: the work is done when the world gets to it.
func (w *world) Go(work func(ctx context.Context) error, done func(now time.Time, err error)) {
	w.jobs = append(w.jobs, job{work, done})
}

type testWriter struct{ w *world }

func (t testWriter) Write(p []byte) (int, error) {
	t.w.say("manager: %s", strings.TrimSpace(string(p)))
	return len(p), nil
}

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%s %s", w.now.Format("05.000"), fmt.Sprintf(format, args...)))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	for _, l := range w.log[max(0, len(w.log)-120):] {
		w.t.Log(l)
	}
	w.t.Fatalf(format, args...)
}

// do runs something in the core; a planted crash becomes a restart.
func (w *world) do(f func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, planted := r.(crash); !planted {
				panic(r)
			}
			w.restart()
		}
	}()
	f()
	if w.core != nil && w.core.Fatal() != nil {
		w.fatalf("fatal: %v", w.core.Fatal())
	}
}

func (w *world) sorted() []*fakeHost {
	return slices.SortedFunc(maps.Values(w.hosts), func(a, b *fakeHost) int { return strings.Compare(a.name, b.name) })
}

// settle carries messages until nobody has anything to say, and checks the
// invariants after each.
func (w *world) settle() {
	for range 10000 {
		if !w.step() {
			return
		}
		w.check()
	}
	w.fatalf("the world does not come to rest")
}

func (w *world) step() bool {
	if len(w.jobs) > 0 {
		j := w.jobs[0]
		w.jobs = w.jobs[1:]
		err := j.work(context.Background())
		w.do(func() { j.done(w.now, err) })
		return true
	}
	for _, h := range w.sorted() {
		if len(h.inbox) > 0 && !h.frozen {
			msg := h.inbox[0]
			h.inbox = h.inbox[1:]
			h.take(msg)
			return true
		}
		if len(h.outbox) > 0 {
			msg := h.outbox[0]
			h.outbox = h.outbox[1:]
			s := h.session
			w.do(func() { w.core.Received(w.now, s, msg) })
			return true
		}
	}
	return false
}

// pass lets time go by, in ticks of the manager; hosts report every second and
// libvirt makes one step of each migration with each tick.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(tick)
		for _, h := range w.sorted() {
			h.libvirt()
			if !h.away && !h.frozen && w.now.Sub(h.reported) >= time.Second {
				h.report()
			}
		}
		w.settle()
		w.do(func() { w.core.Tick(w.now) })
		w.settle()
	}
}

// until lets time go by until something is true.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	for end := w.now.Add(limit); !ok(); w.pass(tick) {
		if w.now.After(end) {
			w.fatalf("not within %s: %s", limit, what)
		}
	}
}

// check holds the invariants.
func (w *world) check() {
	if w.core == nil {
		return
	}
	runs := map[string][]string{}
	for _, h := range w.sorted() {
		for id, d := range h.domains {
			if d.proc == running {
				runs[id] = append(runs[id], h.name)
			}
		}
	}
	for id, where := range runs {
		if len(where) > 1 && !w.hosts[where[0]].domains[id].planted {
			w.fatalf("%s runs on %v", id, where)
		}
	}
	err := w.db.View(context.Background(), func(r store.Reader) error {
		claims, err := r.Claims(store.ClaimFilter{})
		if err != nil {
			return err
		}
		used := map[string]uint64{}
		seen := map[string]bool{}
		for _, cl := range claims {
			if seen[cl.Domain] {
				return fmt.Errorf("two claims for %s", cl.Domain)
			}
			seen[cl.Domain] = true
			used[cl.Holder] += cl.MemoryKiB
			if cl.Target != "" && cl.Target != cl.Holder {
				used[cl.Target] += cl.MemoryKiB
			}
			if mem := w.core.claims[cl.Domain]; mem == nil || mem.Claim.Epoch != cl.Epoch || mem.Claim.Phase != cl.Phase {
				return fmt.Errorf("the copy in memory of %s's claim is not the store's: %+v", cl.Domain, cl)
			}
		}
		if len(claims) != len(w.core.claims) {
			return fmt.Errorf("%d claims stored, %d in memory", len(claims), len(w.core.claims))
		}
		for name, h := range w.hosts {
			if over := w.pol.Decide.CapacityKiB(h.memory); used[name] > over && !h.overfull {
				return fmt.Errorf("%s: %d KiB claimed of %d", name, used[name], over)
			}
		}
		rows, err := r.Migrations(store.MigrationFilter{})
		for _, row := range rows {
			if row.State.Ended() && (row.Outcome == "" || row.Ended.IsZero()) {
				return fmt.Errorf("migration %s is %s without a reason", row.ID, row.State)
			}
		}
		return errors.Join(err)
	})
	if err != nil {
		w.fatalf("invariant: %v", err)
	}
}

// guest puts a running guest on a host.
func (w *world) guest(host, name string, mib uint64) {
	w.hosts[host].domains["uuid-"+name] = &fakeDomain{name: name, proc: running, persistent: true, autostart: true, memory: mib << 10}
}

func (w *world) rows() map[string]migration.Row {
	out := map[string]migration.Row{}
	if err := w.db.View(context.Background(), func(r store.Reader) error {
		all, err := r.Migrations(store.MigrationFilter{})
		for _, row := range all {
			out[row.ID] = row
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) row(domain string) migration.Row {
	var last migration.Row
	for _, r := range w.rows() {
		if r.Domain == "uuid-"+domain && (last.ID == "" || r.Planned.After(last.Planned)) {
			last = r
		}
	}
	return last
}

func (w *world) events(kind string) []store.Event {
	var out []store.Event
	if err := w.db.View(context.Background(), func(r store.Reader) error {
		all, err := r.Events(store.EventFilter{})
		for _, e := range all {
			if strings.HasPrefix(e.Kind, kind) {
				out = append(out, e)
			}
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) where(guest string) string {
	for _, h := range w.sorted() {
		if d := h.domains["uuid-"+guest]; d != nil && d.proc == running {
			return h.name
		}
	}
	return ""
}

func (w *world) claim(guest string) store.Claim {
	if cl := w.core.claims["uuid-"+guest]; cl != nil {
		return cl.Claim
	}
	return store.Claim{}
}

func (w *world) state(host string) store.HostState { return w.core.hosts[host].State }

func (w *world) sent(host, kind string) int {
	n := 0
	for _, o := range w.orders {
		if strings.HasPrefix(o, host+" "+kind+" ") {
			n++
		}
	}
	return n
}

func clone(o *agentv1.Order) *agentv1.Order { return proto.CloneOf(o) }

func peer(name string) pki.Peer {
	return pki.Peer{Host: name, Serial: "serial-" + name, Ends: time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)}
}
