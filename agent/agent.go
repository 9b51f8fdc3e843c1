package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Config is what an Agent is told about its host.
type Config struct {
	Host      string // the name under which the host is enrolled
	MachineID string // /etc/machine-id
	BootID    string // /proc/sys/kernel/random/boot_id
	Version   string // of the agent
	// LibvirtURI is the host's own libvirtd, PeerURI and MigrateURI are how
	// other hosts' libvirts reach it; empty: libvirt's default.
	LibvirtURI string
	PeerURI    string
	MigrateURI string
	// Journal is the file under the run directory, JournalCopy the best-effort
	// copy under the state directory; an empty JournalCopy keeps none.
	Journal     string
	JournalCopy string
	SysRoot     string // root of sysfs, "/sys"
	Hook        HookConfig
	// ReportInterval is the time between complete reports until a manager has said
	// its own.
	ReportInterval time.Duration
}

// Deps are an Agent's ways to the world. All are needed but Virsh and Memory.
type Deps struct {
	Clock  Clock
	Dial   Dialer
	Open   virt.Opener
	Exits  virt.Exits
	Virsh  Virsh  // nil refuses every request
	Memory Memory // nil: not known, and nothing is refused for it
	Log    *slog.Logger
}

// Agent is the loop around a Core: one goroutine owns the Core; sessions,
// libvirt, ended processes and the clock post into it.
type Agent struct {
	cfg  Config
	deps Deps

	inbox   inbox
	lost    chan struct{} // pokes whoever keeps the libvirt connection
	domains atomic.Pointer[[]virt.Domain]
	out     *mailbox // of the present session; the loop's
}

// New prepares an Agent.
func New(cfg Config, deps Deps) (*Agent, error) {
	switch {
	case cfg.Host == "":
		return nil, errors.New("agent: no host name")
	case cfg.BootID == "":
		return nil, errors.New("agent: no boot id")
	case cfg.Journal == "":
		return nil, errors.New("agent: no path for the journal")
	case cfg.ReportInterval <= 0:
		return nil, fmt.Errorf("agent: report interval %s: want more than 0", cfg.ReportInterval)
	case deps.Clock == nil || deps.Dial == nil || deps.Open == nil || deps.Exits == nil || deps.Log == nil:
		return nil, errors.New("agent: a clock, a dialer, libvirt, process watches and a log are needed")
	}
	a := &Agent{cfg: cfg, deps: deps, lost: make(chan struct{}, 1)}
	a.inbox.ready = make(chan struct{}, 1)
	a.domains.Store(&[]virt.Domain{})
	return a, nil
}

// Collected takes one sweep of the collectors. It may be called from anywhere
// and never blocks.
func (a *Agent) Collected(s Collected) {
	a.inbox.post(func(c *Core, _ time.Time) { c.Collected(s) })
}

// Hooked answers libvirt's hook. It may be called from anywhere while Run runs; an
// error says that there was no answer before ctx ended.
func (a *Agent) Hooked(ctx context.Context, r hook.Request) (hook.Answer, error) {
	answer := make(chan hook.Answer, 1)
	a.inbox.post(func(c *Core, now time.Time) {
		c.Hooked(r, now, func(x hook.Answer) { answer <- x })
	})
	select {
	case x := <-answer:
		return x, nil
	case <-ctx.Done():
		return hook.Answer{}, ctx.Err()
	}
}

// Domains returns the domains as last seen, not older than a second or what
// libvirt last answered. The caller must not change them.
func (a *Agent) Domains() []virt.Domain { return *a.domains.Load() }

// Run is the agent, until ctx ends. What libvirt was asked for goes on without
// it, and the journal knows.
func (a *Agent) Run(ctx context.Context) error {
	files, restored, err := journal.Open(a.cfg.Journal, a.cfg.JournalCopy, journal.Host{
		BootID: a.cfg.BootID, Name: a.cfg.Host, MachineID: a.cfg.MachineID,
	})
	if err != nil {
		return err
	}
	defer files.Close()
	book := &countingJournal{Journal: files}

	work, stop := context.WithCancel(ctx)
	h := newHands(work, a.cfg, a.deps, func(do func(now time.Time)) {
		a.inbox.post(func(_ *Core, now time.Time) { do(now) })
	}, a.event)
	core := NewCore(a.cfg, restored, Effects{
		Outbox: a, Hands: h, Watch: &exits{a: a}, Journal: book, Log: a.deps.Log,
	}, a.deps.Clock.Now())

	var helpers sync.WaitGroup
	copies := make(chan journal.State, 1)
	helpers.Go(func() { a.keepLibvirt(work, h) })
	helpers.Go(func() { a.keepSession(work) })
	helpers.Go(func() { a.keepCopy(work, copies) })
	a.loop(ctx, core, book, copies)

	// Nothing is taken from the inbox any more: a call that ends now because
	// its connection is closed is not a call that has returned.
	stop()
	h.close()
	helpers.Wait()
	return nil
}

// housekeeping is how often the loop looks after what is not urgent.
const housekeeping = time.Second

func (a *Agent) loop(ctx context.Context, core *Core, book *countingJournal, copies chan journal.State) {
	var copied uint64
	tidy := a.deps.Clock.Now()
	for {
		now := a.deps.Clock.Now()
		for _, do := range a.inbox.take() {
			do(core, now)
		}
		core.Tick(now)
		if !now.Before(tidy) {
			tidy = now.Add(housekeeping)
			a.showDomains(core)
			if a.cfg.JournalCopy != "" && book.writes != copied {
				select {
				case copies <- book.State().Clone():
					copied = book.writes
				default: // the disk is busy with the last one, or hangs
				}
			}
		}
		wake := core.Wake()
		if tidy.Before(wake) {
			wake = tidy
		}
		timer, stop := a.deps.Clock.After(max(wake.Sub(a.deps.Clock.Now()), 0))
		select {
		case <-ctx.Done():
			stop()
			return
		case <-a.inbox.ready:
		case <-timer:
		}
		stop()
	}
}

func (a *Agent) showDomains(core *Core) {
	all := []virt.Domain{}
	for _, d := range core.each() {
		if d.known {
			all = append(all, d.seen.Domain)
		}
	}
	virt.SortDomains(all)
	a.domains.Store(&all)
}

// event is the sink of the libvirt connection that carries events.
func (a *Agent) event(e virt.Event) {
	a.inbox.post(func(c *Core, now time.Time) { c.Event(e, now) })
	if e.Kind == virt.EventDisconnected {
		select {
		case a.lost <- struct{}{}:
		default: // already poked
		}
	}
}

// reconnect is how often the libvirt connection is looked after.
const reconnect = 250 * time.Millisecond

// keepLibvirt keeps the connections to the host's libvirtd open.
func (a *Agent) keepLibvirt(ctx context.Context, h *hands) {
	was := ""
	for ctx.Err() == nil {
		err := h.ensure(ctx, a.deps.Clock.Now())
		if now := fmt.Sprint(err); err != nil && now != was {
			a.deps.Log.Warn("no libvirt", "uri", a.cfg.LibvirtURI, "error", err)
			was = now
		} else if err == nil {
			was = ""
		}
		a.wait(ctx, reconnect, a.lost)
	}
}

// wait returns when d has passed, when poked, or when ctx ends.
func (a *Agent) wait(ctx context.Context, d time.Duration, poke <-chan struct{}) {
	timer, stop := a.deps.Clock.After(d)
	defer stop()
	select {
	case <-ctx.Done():
	case <-timer:
	case <-poke:
	}
}

// keepCopy writes the best-effort copy of the journal. Only this goroutine waits
// for that disk.
func (a *Agent) keepCopy(ctx context.Context, copies <-chan journal.State) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-copies:
			err := journal.Copy(a.cfg.JournalCopy, s)
			if err != nil && !failing {
				a.deps.Log.Warn("no copy of the journal", "error", err)
			}
			failing = err != nil
		}
	}
}

// countingJournal counts what was written, so that the copy follows.
type countingJournal struct {
	*journal.Journal
	writes uint64
}

func (j *countingJournal) SetHost(h journal.Host) error {
	j.writes++
	return j.Journal.SetHost(h)
}

func (j *countingJournal) SetDomain(d journal.Domain) error {
	j.writes++
	return j.Journal.SetDomain(d)
}

func (j *countingJournal) Forget(uuid string) error {
	j.writes++
	return j.Journal.Forget(uuid)
}

// exits is the production Watch.
type exits struct{ a *Agent }

func (e *exits) Exit(p virt.Process, gone func(now time.Time)) (func(), error) {
	if p.PID == 0 {
		return nil, errors.New("the process is not known")
	}
	stop, err := e.a.deps.Exits.WatchExit(p, func() {
		e.a.inbox.post(func(_ *Core, now time.Time) { gone(now) })
	})
	if err != nil {
		return nil, err
	}
	return func() { stop() }, nil
}

// inbox is what has been posted into the loop: in order, never blocking.
type inbox struct {
	mu    sync.Mutex
	all   []func(*Core, time.Time)
	ready chan struct{} // one slot
}

func (i *inbox) post(do func(c *Core, now time.Time)) {
	i.mu.Lock()
	i.all = append(i.all, do)
	i.mu.Unlock()
	select {
	case i.ready <- struct{}{}:
	default: // the loop knows
	}
}

func (i *inbox) take() []func(*Core, time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.all
	i.all = nil
	return all
}

// Send is the Core's Outbox: to the present session. Only the loop calls it.
func (a *Agent) Send(m *agentv1.AgentMessage) {
	if a.out != nil {
		a.out.put(m)
	}
}
