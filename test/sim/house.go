package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// hostMemory is what a host has, in KiB: a few guests fit, not all.
const hostMemory = 640 << 10

// house is a manager with its store.
type house struct {
	clock
	path   string
	policy manager.Policy
	db     *sqlite.DB
	core   *manager.Core // nil while the manager is dead, or does not lead
	term   int           // counts cores
	since  time.Duration // of this core's start, or its last thaw
	frozen bool
	held   []func()
	ticked time.Duration
	jobs   []job
	*spoken
	*seat // its place in the election; nil where there is one manager
}

// spoken is what managers have written and said, whichever of them it was.
type spoken struct {
	ledger *ledger
	// generation is that of the store: the present manager's, or the next one's.
	generation uint64
	sent       []sentOrder
	// permitted are the permissions that were given, oldest first.
	permitted []*agentv1.ManagerMessage
	backup    string // file; "" without one
	// told are the permissions that were given, by whom and in which conversation.
	told map[permission]string
	// unheard are hosts that have not reported since the store was restored.
	unheard map[string]bool
	// gave are all orders and answers that let a host hold something: in which boot.
	gave map[permission]string
}

// permission is what a host was told that it holds.
type permission struct {
	host, domain string
	epoch        uint64
}

type job struct {
	work func(ctx context.Context) error
	done func(now time.Time, err error)
}

// sentOrder is an order that the network may bring again.
type sentOrder struct {
	to    *station
	order *agentv1.Order
}

func newSpoken(s *Sim) *spoken {
	return &spoken{ledger: newLedger(s), told: map[permission]string{}, gave: map[permission]string{}}
}

func newHouse(s *Sim, path string) *house {
	cfg := configs.DefaultManager()
	cfg.UnknownAfter = configs.Duration(150 * time.Second)
	cfg.Capacity.Reserve = 0
	return &house{clock: clock{s: s}, path: path, policy: manager.PolicyFrom(cfg), spoken: newSpoken(s)}
}

// enrol writes the hosts into a new store.
func (s *Sim) enrol() error {
	h := s.house
	var db store.Store
	var err error
	if s.turns != nil {
		db, err = s.turns.cluster.Campaign("init")
	} else {
		db, err = sqlite.Open(context.Background(), h.path)
	}
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(context.Background(), func(tx store.Tx) error {
		for _, st := range s.hosts {
			if err := tx.PutHost(store.Host{
				Name: st.name, MachineID: "machine-" + st.name, CertSerial: "serial-" + st.name, Enrolled: h.now(),
				State: store.Healthy, StateReason: "enrolled", StateSince: h.now(), Heard: 1,
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *house) up() bool { return h.core != nil }

// start starts a manager.
func (h *house) start() {
	if h.seat != nil {
		h.rise()
		return
	}
	if h.core != nil {
		return
	}
	s := h.s
	db, err := sqlite.Open(context.Background(), h.path)
	if err != nil {
		s.fail("the store does not open: %v", err)
	}
	h.db = db
	h.ledger.Store = db
	if err := h.begin(h.ledger); err != nil {
		s.fail("the manager does not start: %v", err)
	}
}

// begin makes a core over a store and starts it; an error is the store's.
func (h *house) begin(st store.Store) (err error) {
	s := h.s
	h.term, h.frozen, h.held, h.jobs = h.term+1, false, nil, nil
	s.say("%s: starts, term %d", h.who(), st.Identity().Term)
	h.generation = st.Identity().Generation
	h.core, err = manager.NewCore(context.Background(), manager.Setup{
		Store: st, Readings: h.db, Scorer: calm{}, Background: h, Policy: h.policy,
		Log: slog.New(slog.NewTextHandler(logWriter{s, h.who()}, plain)), NewID: s.id,
	}, h.now())
	if err != nil {
		h.core = nil
		return err
	}
	h.since, h.ticked = s.fleet.Now(), s.fleet.Now()
	h.do(func() { h.core.Start(h.now()) })
	return nil
}

// kill ends the manager as kill -9 does.
func (h *house) kill() {
	if h.core == nil && (h.seat == nil || !h.alive) {
		return
	}
	h.s.say("%s: dies", h.who())
	h.drop()
	h.ledger.dieIn = 0
	if h.seat != nil {
		h.vanish()
	}
	if err := h.db.Close(); err != nil {
		h.s.fail("closing the store: %v", err)
	}
	h.hangUp(false)
}

// drop forgets the core, as the end of its process does.
func (h *house) drop() { h.core, h.jobs, h.held, h.frozen = nil, nil, nil, false }

// hangUp ends the sessions of a core that is gone, at once or behind what has left
// for the agents before.
func (h *house) hangUp(behind bool) {
	for _, st := range h.s.hosts {
		l := st.link
		if l == nil || l.house != h {
			continue
		}
		l.coreOver = true
		if left := l.downAt - h.s.fleet.Now(); behind && left > 0 {
			h.s.after(left, "manager", func() { l.breaks(h.s.latency(), 0) })
		} else {
			l.breaks(h.s.latency(), 0)
		}
	}
}

// die kills the manager and lets systemd start it again.
func (h *house) die() {
	h.kill()
	h.s.after(h.s.spread(200*time.Millisecond, 40*time.Second), "manager", h.start)
}

// do runs code of the manager; a planted death in it kills the manager.
func (h *house) do(f func()) {
	if h.core == nil {
		return
	}
	if h.frozen {
		h.held = append(h.held, f)
		return
	}
	defer func() {
		if r := recover(); r != nil {
			if r != any(errCrash) {
				panic(r)
			}
			h.s.count("manager killed at a commit")
			h.die()
		}
	}()
	switch err := h.take(f); {
	case err != nil && h.seat != nil:
		h.loses(err)
	case err != nil:
		h.s.fail("the manager gives up: %v", err)
	}
}

// take gives the core an input.
func (h *house) take(f func()) error {
	if h.seat != nil {
		h.works = true
		defer func() { h.works = false }()
	}
	return h.core.Take(h.looks, f)
}

func (h *house) thaw() {
	if h.seat != nil {
		h.awakes()
	}
	if h.core == nil || !h.frozen {
		return
	}
	h.s.say("%s: thaws", h.who())
	h.frozen, h.since = false, h.s.fleet.Now()
	held, term := h.held, h.term
	h.held = nil
	if h.seat != nil {
		h.goesOn()
	}
	for _, f := range held {
		if h.term == term && h.core != nil {
			h.do(f)
			h.s.check()
		}
	}
}

// wake says when the next tick is.
func (h *house) wake() (time.Duration, bool) {
	if h.core == nil || h.frozen {
		return 0, false
	}
	return h.s.coarse(h.ticked + 100*time.Millisecond), true
}

func (h *house) tick() {
	h.ticked = h.s.fleet.Now()
	h.do(func() { h.core.Tick(h.now()) })
}

// Go implements manager.Background: one job after the other, some time later.
func (h *house) Go(work func(ctx context.Context) error, done func(now time.Time, err error)) {
	h.jobs = append(h.jobs, job{work, done})
	if len(h.jobs) == 1 {
		h.later()
	}
}

func (h *house) later() {
	term := h.term
	h.s.after(h.s.latency(), "manager", func() {
		h.do(func() {
			if h.term != term {
				return
			}
			j := h.jobs[0]
			h.jobs = h.jobs[1:]
			err := j.work(context.Background())
			j.done(h.now(), err)
			if len(h.jobs) > 0 {
				h.later()
			}
		})
	})
}

// calm is a model for which every host is fine: what moves here moves by hand.
type calm struct{}

type noMemory struct{}

func (noMemory) Observe(signal.Reading)    {}
func (noMemory) Snapshot() ([]byte, error) { return []byte("calm"), nil }

func (calm) Name() string { return "calm" }

func (calm) Memory(string, []byte) (manager.Memory, error) { return noMemory{}, nil }

func (calm) Assess(string, []manager.Memory, []store.Dependency, time.Time) manager.Assessment {
	return manager.Assessment{Host: decide.Risk{Model: "calm"}}
}

func (h *house) String() string { return fmt.Sprintf("manager %d", h.term) }
