package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// wallClock is time as the test's bubble has it.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// pipe is a session in memory.
type pipe struct {
	down chan *agentv1.ManagerMessage
	up   chan *agentv1.AgentMessage
	end  chan struct{}
	once sync.Once
}

var errEnded = errors.New("the session has ended")

func (p *pipe) Send(m *agentv1.AgentMessage) error {
	select {
	case p.up <- m:
		return nil
	case <-p.end:
		return errEnded
	}
}

func (p *pipe) Recv() (*agentv1.ManagerMessage, error) {
	select {
	case m := <-p.down:
		return m, nil
	case <-p.end:
		return nil, errEnded
	}
}

func (p *pipe) Close() { p.once.Do(func() { close(p.end) }) }

// desk is the manager's end of one agent's sessions.
type desk struct {
	t       *testing.T
	name    string
	term    uint64
	session string

	mu      sync.Mutex
	refuse  bool
	pipe    *pipe
	hello   *agentv1.Hello
	last    map[string]*agentv1.Domain
	reports int
	results map[string]*agentv1.OrderResult
	batches int
	notes   []string
}

func (d *desk) dial(_ context.Context, hello *agentv1.Hello) (Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse {
		return nil, errors.New("connection refused")
	}
	p := &pipe{down: make(chan *agentv1.ManagerMessage, 100), up: make(chan *agentv1.AgentMessage), end: make(chan struct{})}
	d.pipe, d.hello, d.term = p, hello, d.term+1
	d.session = d.name + time.Now().String()
	p.down <- &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Welcome{Welcome: &agentv1.Welcome{
		Session: d.session, Generation: 1, Term: d.term, ReportInterval: durationpb.New(5 * time.Second),
	}}}
	go d.listen(p)
	return p, nil
}

func (d *desk) listen(p *pipe) {
	for {
		select {
		case <-p.end:
			return
		case m := <-p.up:
			d.mu.Lock()
			switch b := m.GetBody().(type) {
			case *agentv1.AgentMessage_Report:
				d.reports++
				for _, x := range b.Report.GetDomains() {
					d.last[x.GetUuid()] = x
				}
			case *agentv1.AgentMessage_Sighting:
				d.last[b.Sighting.GetDomain().GetUuid()] = b.Sighting.GetDomain()
			case *agentv1.AgentMessage_Result:
				d.results[b.Result.GetOrder()] = b.Result
			case *agentv1.AgentMessage_Readings:
				d.batches++
			case *agentv1.AgentMessage_Note:
				d.notes = append(d.notes, b.Note.GetText())
			}
			d.mu.Unlock()
		}
	}
}

// cut ends the session; with refuse the manager stays away.
func (d *desk) cut(refuse bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = refuse
	if d.pipe != nil {
		d.pipe.Close()
	}
}

func (d *desk) sees() *agentv1.Domain {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.last[guest]; x != nil {
		return x
	}
	return &agentv1.Domain{}
}

func (d *desk) until(what string, is func() bool) {
	d.t.Helper()
	for range 60_000 {
		if is() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	d.t.Fatalf("%s: never: %s", d.name, what)
}

func (d *desk) tell(want agentv1.Outcome, boot string, o *agentv1.Order) {
	d.t.Helper()
	d.mu.Lock()
	o.Generation, o.Term, o.Session, o.BootId, o.Domain = 1, d.term, d.session, boot, guest
	d.pipe.down <- &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Order{Order: o}}
	d.mu.Unlock()
	var r *agentv1.OrderResult
	d.until("answer to "+kind(o), func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		r = d.results[o.GetId()]
		return r != nil
	})
	if r.GetOutcome() != want {
		d.t.Fatalf("%s: %s: %v, want %s", d.name, kind(o), r, want)
	}
}

// fleetOfAgents is two hosts with real agents in the bubble's time.
type fleetOfAgents struct {
	fleet *virttest.Fleet
	desks map[string]*desk
	run   map[string]*Agent
	dirs  map[string]string
	stop  map[string]func() // ends the agent and waits for it
}

func startAgents(t *testing.T) *fleetOfAgents {
	t.Helper()
	f := &fleetOfAgents{
		fleet: virttest.NewFleet([]string{"A", "B"}), desks: map[string]*desk{}, run: map[string]*Agent{},
		dirs: map[string]string{}, stop: map[string]func(){},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ticker sync.WaitGroup
	ticker.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			f.fleet.Advance(time.Millisecond)
		}
	})
	for _, n := range []string{"A", "B"} {
		f.fleet.Host(n).SetBridges("br0")
		f.desks[n] = &desk{t: t, name: n, last: map[string]*agentv1.Domain{}, results: map[string]*agentv1.OrderResult{}}
		f.dirs[n] = t.TempDir()
		f.start(t, n)
	}
	t.Cleanup(func() {
		for _, stop := range f.stop {
			stop()
		}
		for _, d := range f.desks {
			d.cut(true)
		}
		cancel()
		ticker.Wait()
	})
	return f
}

func (f *fleetOfAgents) start(t *testing.T, n string) {
	t.Helper()
	h := f.fleet.Host(n)
	a, err := New(Config{
		Host: n, MachineID: "m-" + n, BootID: h.BootID(), Version: "test", LibvirtURI: "qemu:///system", PeerURI: h.URI(),
		Journal: filepath.Join(f.dirs[n], "journal"), JournalCopy: filepath.Join(f.dirs[n], "copy"), SysRoot: t.TempDir(),
		ReportInterval: 5 * time.Second,
	}, Deps{
		Clock: wallClock{}, Dial: f.desks[n].dial, Open: h.Opener(), Exits: h,
		Memory: func() (uint64, error) { return 8 << 20, nil },
		Log:    slog.New(slog.DiscardHandler),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	f.run[n] = a
	f.stop[n] = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agent %s: %v", n, err)
		}
	})
}

func (f *fleetOfAgents) boot(t *testing.T) {
	t.Helper()
	c, err := f.fleet.Host("A").Opener()(t.Context(), "qemu:///system", nil)
	must(t, err)
	defer c.Close()
	_, err = c.Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	must(t, c.Start(t.Context(), guest))
	f.fleet.Host("A").SetLoad(guest, 64<<20, 1<<20)
}

// The whole agents, with their goroutines: a move, over a restart of one agent
// and an absence of the manager.
func TestAgentsMoveAGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAgents(t)
		f.boot(t)
		a, b := f.desks["A"], f.desks["B"]
		bootA, bootB := f.fleet.Host("A").BootID(), f.fleet.Host("B").BootID()
		a.until("the guest is seen", func() bool { return a.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING })
		b.until("a session", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.reports > 0 })
		f.run["A"].Collected(Collected{Readings: []signal.Reading{{Component: "cpu", Signal: "x", Status: signal.Absent}}})
		a.until("readings", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.batches == 1 })

		a.tell(doneOutcome, bootA, say(10, "", &agentv1.Confirm{}))
		b.tell(doneOutcome, bootB, say(11, "m1", &agentv1.Prepare{Source: "A", Domain: a.sees()}))
		a.tell(begunOutcome, bootA, say(11, "m1", &agentv1.Move{Target: "B", PeerUri: f.fleet.Host("B").URI()}))
		b.until("the copy is on its way", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED })
		f.stop["B"]()
		f.start(t, "B")
		b.until("complete", func() bool { return b.sees().GetComplete() })
		a.until("gone", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
		gone, complete := a.sees().GetGoneAt().AsTime(), b.sees().GetCompleteAt().AsTime()
		if d := gone.Sub(complete); d < 30*time.Millisecond || d > 45*time.Millisecond {
			t.Errorf("gone %s after complete, the fake's QEMU exits 35 ms after", d)
		}
		a.cut(true)
		b.cut(true)
		left := time.Now()
		b.until("it runs on the target", func() bool { return strings.Join(f.fleet.RunningOn(guest), ",") == "B" })
		if d := time.Since(left); d < time.Second || d > 1500*time.Millisecond {
			t.Errorf("finished alone after %s, want a little more than a second", d)
		}
		a.cut(false)
		b.cut(false)
		b.until("the target knows", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING })
		a.until("the source tells", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return strings.Contains(strings.Join(a.notes, "\n"), "finished the move to B from here")
		})
		b.tell(doneOutcome, bootB, say(12, "m1", &agentv1.Settle{Keep: true}))
		a.tell(doneOutcome, bootA, say(12, "m1", &agentv1.Settle{}))
		time.Sleep(3 * time.Second)
		if all := f.run["B"].Domains(); len(all) != 1 || all[0].UUID != guest || !all[0].Running() {
			t.Errorf("collectors would see %+v", all)
		}
		s, err := journal.Read(filepath.Join(f.dirs["B"], "copy"))
		if err != nil || s.Host.Term == 0 || s.Domains[guest].Epoch != 12 {
			t.Errorf("the copy of the journal: %+v %v", s, err)
		}
	})
}

func TestAgentOutlivesLibvirtdAndManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startAgents(t)
		f.boot(t)
		a := f.desks["A"]
		a.until("the guest is seen", func() bool { return a.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING })
		f.fleet.Host("A").KillLibvirtd()
		a.cut(true)
		time.Sleep(20 * time.Second)
		f.fleet.Host("A").StartLibvirtd()
		a.cut(false)
		a.mu.Lock()
		a.last = map[string]*agentv1.Domain{}
		a.mu.Unlock()
		a.until("the guest is seen again", func() bool { return a.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING })
		f.fleet.Host("A").PowerOff(guest)
		a.until("and seen to end", func() bool { return a.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_SHUTOFF })
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good := Config{Host: "h", BootID: "b", Journal: "j", ReportInterval: time.Second}
	for name, edit := range map[string]func(*Config){
		"host":            func(c *Config) { c.Host = "" },
		"boot id":         func(c *Config) { c.BootID = "" },
		"journal":         func(c *Config) { c.Journal = "" },
		"report interval": func(c *Config) { c.ReportInterval = 0 },
		"clock":           func(*Config) {},
	} {
		c := good
		edit(&c)
		if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
