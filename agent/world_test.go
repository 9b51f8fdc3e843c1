package agent

import (
	"context"
	"errors"
	"fmt"

	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

const guest = "11111111-2222-3333-4444-555555555501"

func guestXML(name, uuid string) string { return virttest.GuestXML(name, uuid, 128<<10) }

// world is hosts with their libvirts in virtual time, and the agent of each.
type world struct {
	t     *testing.T
	fleet *virttest.Fleet
	base  time.Time
	hosts map[string]*station
	names []string
	// after runs after everything that happened: where invariants are checked
	// and a manager acts.
	after []func()
	trace []string
}

// station is one host: its libvirt, and the agent with its journal.
type station struct {
	w    *world
	name string
	host *virttest.Host
	dir  string

	core    *Core // nil while the agent is dead
	life    int   // counts agents: what an older one began is not its successor's
	keeper  *virt.Keeper
	files   *journal.Journal
	peers   map[string]virt.Conn
	inbox   []func()
	sent    []*agentv1.AgentMessage
	results map[string]*agentv1.OrderResult
	last    map[string]*agentv1.Domain // as the manager knows it
	reports []*agentv1.Report
	session string
	term    uint64
	silent  bool // libvirtd did not answer for the last report

	// writes counts journal writes; dieAt kills the agent at that write, right
	// after it or, with dieBefore, instead of it.
	writes    int
	dieAt     int
	dieBefore bool
	fail      error           // of journal writes
	limits    []time.Duration // of the pause, as libvirt was told

	hook     HookConfig
	unproved error // what a probe of the hook ends with
}

func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	w := &world{
		t: t, base: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), hosts: map[string]*station{}, names: names,
		fleet: virttest.NewFleet(names, virttest.WithoutWaiting()),
	}
	for _, n := range names {
		s := &station{w: w, name: n, host: w.fleet.Host(n), dir: t.TempDir()}
		s.host.SetBridges("br0")
		w.hosts[n] = s
	}
	t.Cleanup(func() {
		for _, s := range w.hosts {
			s.kill()
		}
		if t.Failed() || testing.Verbose() {
			for _, line := range w.trace[max(0, len(w.trace)-120):] {
				t.Log(line)
			}
		}
	})
	for _, n := range names {
		w.hosts[n].start()
	}
	return w
}

func (w *world) now() time.Time { return w.base.Add(w.fleet.Now()) }

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%12s ", w.fleet.Now())+fmt.Sprintf(format, args...))
}

// boot defines and starts the guest on a host.
func (w *world) boot(on string) {
	w.t.Helper()
	w.bootXML(on, guestXML("g1", guest))
}

func (w *world) bootXML(on, xml string) {
	w.t.Helper()
	s := w.hosts[on]
	c := s.conn()
	if _, err := c.Define(w.t.Context(), xml); err != nil {
		w.t.Fatal(err)
	}
	if err := c.SetAutostart(w.t.Context(), guest, true); err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(w.t.Context(), guest); err != nil {
		w.t.Fatal(err)
	}
	s.host.SetLoad(guest, 128<<20, 1<<20)
	w.pass(10 * time.Millisecond)
}

// pass lets d go by: whatever is due happens in order, in libvirt and in the
// agents, and after each change everybody reacts.
func (w *world) pass(d time.Duration) {
	end := w.fleet.Now() + d
	w.settle()
	for w.step(end); w.fleet.Now() < end; {
		w.step(end)
	}
}

// step goes to the next change, but not beyond end.
func (w *world) step(end time.Duration) {
	next := end
	if at, is := w.fleet.Next(); is && at < next {
		next = at
	}
	for _, n := range w.names {
		if s := w.hosts[n]; s.core != nil {
			if at := s.core.Wake().Sub(w.base); at < next {
				next = at
			}
		}
	}
	w.fleet.Advance(max(next-w.fleet.Now(), 0))
	for _, n := range w.names {
		s := w.hosts[n]
		s.do(func() { s.core.Tick(w.now()) })
	}
	w.settle()
}

// until passes time until is holds.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for range 200_000 {
		w.settle()
		if is() {
			return
		}
		w.step(w.fleet.Now() + 100*time.Millisecond)
		if w.fleet.Now() > 30*time.Minute {
			break
		}
	}
	w.t.Fatalf("never: %s", what)
}

// settle delivers everything that has been posted, until nothing is left.
func (w *world) settle() {
	for again := true; again; {
		again = false
		for _, n := range w.names {
			s := w.hosts[n]
			for len(s.inbox) > 0 {
				do := s.inbox[0]
				s.inbox = s.inbox[1:]
				s.do(do)
				again = true
			}
		}
		w.check()
		if !again {
			for _, f := range w.after {
				f()
			}
			for _, s := range w.hosts {
				again = again || len(s.inbox) > 0
			}
		}
	}
}

// check holds the first invariant, and that nobody wakes old memory over newer
// disks.
func (w *world) check() {
	w.t.Helper()
	if on := w.fleet.RunningOn(guest); len(on) > 1 {
		w.t.Fatalf("at %s the guest runs on %s", w.fleet.Now(), strings.Join(on, " and "))
	}
	for _, g := range w.fleet.Guests() {
		if g.Revived {
			w.t.Fatalf("at %s %s runs memory that is older than its disks", w.fleet.Now(), g.Host)
		}
	}
}

var errCrash = errors.New("the agent is killed here")

// do runs code of the agent; a crash in it kills the agent.
func (s *station) do(f func()) {
	if s.core == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			if err, is := r.(error); !is || !errors.Is(err, errCrash) {
				panic(r)
			}
			s.w.logf("%s: agent killed at journal write %d", s.name, s.writes)
			s.kill()
		}
	}()
	f()
}

func (s *station) post(life int, f func()) {
	s.inbox = append(s.inbox, func() {
		if life == s.life {
			f()
		}
	})
}

// start starts an agent on the host.
func (s *station) start() {
	s.w.t.Helper()
	s.life++
	life := s.life
	files, restored, err := journal.Open(filepath.Join(s.dir, "journal"), filepath.Join(s.dir, "copy"), journal.Host{
		BootID: s.host.BootID(), Name: s.name, MachineID: "machine-" + s.name,
	})
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.files, s.peers, s.inbox, s.session = files, map[string]virt.Conn{}, nil, ""
	s.results, s.last, s.sent, s.reports = map[string]*agentv1.OrderResult{}, map[string]*agentv1.Domain{}, nil, nil
	s.keeper = virt.NewKeeper(s.host.Opener(), "qemu:///system", func(e virt.Event) {
		s.w.logf("%s: event %s %s %s %s", s.name, e.Kind, e.Event, e.Detail, e.Reason)
		s.post(life, func() { s.core.Event(e, s.w.now()) })
	})
	s.core = NewCore(Config{Host: s.name, BootID: s.host.BootID(), ReportInterval: 10 * time.Second, Hook: s.hook}, restored, Effects{
		Outbox: s, Hands: &testHands{s: s, life: life}, Watch: &testWatch{s: s, life: life}, Journal: &testJournal{s},
		Log: slog.New(slog.NewTextHandler(traceWriter{s}, nil)),
	}, s.w.now())
	s.keepLibvirt(life)
	s.w.settle()
}

// keepLibvirt tries to hold the connection, four times a second.
func (s *station) keepLibvirt(life int) {
	_ = s.keeper.Ensure(context.Background(), s.w.now())
	s.core.later(s.w.now().Add(250*time.Millisecond), func(time.Time) { s.keepLibvirt(life) })
}

// kill kills the agent; its connections go with it.
func (s *station) kill() {
	if s.core == nil {
		return
	}
	s.life++
	s.core, s.inbox, s.session = nil, nil, ""
	_ = s.keeper.Close()
	for _, c := range s.peers {
		_ = c.Close()
	}
	_ = s.files.Close()
}

// conn is somebody else's connection to the host's libvirt.
func (s *station) conn() virt.Conn {
	c, err := s.host.Opener()(context.Background(), "qemu:///system", nil)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return c
}

// open begins a session with the manager.
func (s *station) open(term uint64) {
	s.w.t.Helper()
	if s.core == nil {
		s.w.t.Fatalf("%s: no agent", s.name)
	}
	s.term = term
	s.last, s.reports = map[string]*agentv1.Domain{}, nil
	s.session = fmt.Sprintf("s-%s-%d-%d", s.name, term, s.life)
	s.do(func() {
		if err := s.core.Opened(&agentv1.Welcome{
			Session: s.session, Generation: 1, Term: term, ReportInterval: durationpb.New(10 * time.Second),
		}, s.w.now()); err != nil {
			s.w.t.Fatal(err)
		}
	})
	s.w.settle()
}

func (s *station) close() {
	s.session = ""
	s.do(func() { s.core.Closed(s.w.now()) })
	s.w.settle()
}

// Send is the manager's end of the session.
func (s *station) Send(m *agentv1.AgentMessage) {
	s.sent = append(s.sent, m)
	switch b := m.GetBody().(type) {
	case *agentv1.AgentMessage_Result:
		s.w.logf("%s: result %s %s %s", s.name, b.Result.GetOrder(), b.Result.GetOutcome(), b.Result.GetReason())
		s.results[b.Result.GetOrder()] = b.Result
	case *agentv1.AgentMessage_Report:
		s.reports = append(s.reports, b.Report)
		s.silent = !b.Report.GetLibvirtd()
		if !s.silent {
			for _, d := range b.Report.GetDomains() {
				s.last[d.GetUuid()] = d
			}
		}
	case *agentv1.AgentMessage_Sighting:
		d := b.Sighting.GetDomain()
		s.w.logf("%s: sighting %s %s pause %s attempt %s %s call %s gone %s complete %t job %s", s.name, d.GetState(), d.GetReason(), d.GetPause(),
			d.GetAttempt(), d.GetAttemptState(), d.GetCall(), d.GetGone(), d.GetComplete(), d.GetJob().GetOperation())
		s.last[d.GetUuid()] = d
	}
}

// give gives an order without waiting for its answer.
func (s *station) give(o *agentv1.Order) {
	if o.Generation == 0 {
		o.Generation = 1
	}
	if o.Term == 0 {
		o.Term = s.term
	}
	if o.BootId == "" {
		o.BootId = s.host.BootID()
	}
	if o.Session == "" {
		o.Session = s.session
	}
	if o.Domain == "" && o.GetTakeNothing() == nil {
		o.Domain = guest
	}
	s.w.logf("%s: order %s %s attempt %s epoch %d", s.name, o.GetId(), kind(o), o.GetAttempt(), o.GetEpoch())
	s.do(func() {
		s.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Order{Order: o}}, s.w.now())
	})
}

// order gives an order and waits for its answer.
func (s *station) order(o *agentv1.Order) *agentv1.OrderResult {
	s.w.t.Helper()
	delete(s.results, o.GetId())
	s.give(o)
	s.w.until("answer to "+kind(o), func() bool { return s.results[o.GetId()] != nil || s.core == nil })
	return s.results[o.GetId()]
}

// sees is the guest as the manager last heard of it from this host.
func (s *station) sees() *agentv1.Domain {
	if d := s.last[guest]; d != nil {
		return d
	}
	return &agentv1.Domain{}
}

type traceWriter struct{ s *station }

func (t traceWriter) Write(p []byte) (int, error) {
	_, line, _ := strings.Cut(strings.TrimSpace(string(p)), "msg=")
	t.s.w.logf("%s: log %s", t.s.name, line)
	return len(p), nil
}

// testJournal is the station's journal with crashes in it.
type testJournal struct{ s *station }

func (j *testJournal) State() journal.State { return j.s.files.State() }
func (j *testJournal) Forget(uuid string) error {
	return j.write(func() error { return j.s.files.Forget(uuid) })
}
func (j *testJournal) Tidy() error                      { return j.s.files.Tidy() }
func (j *testJournal) Marks() ([]journal.Mark, error)   { return j.s.files.Marks() }
func (j *testJournal) MarkOf(uuid string) *journal.Mark { return j.s.files.MarkOf(uuid) }
func (j *testJournal) TakeMark(uuid string) error       { return j.s.files.TakeMark(uuid) }
func (j *testJournal) SetHost(h journal.Host) error {
	return j.write(func() error { return j.s.files.SetHost(h) })
}
func (j *testJournal) SetDomain(d journal.Domain) error {
	return j.write(func() error { return j.s.files.SetDomain(d) })
}

func (j *testJournal) write(w func() error) error {
	j.s.writes++
	if j.s.fail != nil {
		return j.s.fail
	}
	if j.s.writes == j.s.dieAt && j.s.dieBefore {
		panic(errCrash)
	}
	err := w()
	if j.s.writes == j.s.dieAt {
		panic(errCrash)
	}
	return err
}

// spoil rewrites the journal of a dead agent.
func (s *station) spoil(change func([]byte) []byte) {
	s.w.t.Helper()
	path := filepath.Join(s.dir, "journal")
	raw, err := os.ReadFile(path)
	if err != nil {
		s.w.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(raw), 0o600); err != nil {
		s.w.t.Fatal(err)
	}
}
