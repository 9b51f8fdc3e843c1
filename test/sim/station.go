package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// station is one host: its libvirt, and the agent with its journal.
type station struct {
	clock
	name string
	host *virttest.Host
	run  string // the journal's file; gone with a boot
	copy string // the copy under the state directory

	core   *agent.Core // nil while the agent is dead
	life   int         // counts agents: what an older one began is not its successor's
	frozen bool        // SIGSTOP: its inputs wait
	held   []func()
	files  *journal.Journal
	lines

	link  *session
	since time.Duration // of the session
	apart bool          // the network between it and the manager is cut
	heard map[string]*heard
	late  []late // calls that a frozen libvirtd has in its socket
	// checked is the last look at a domain on which an order was obeyed.
	checked map[string]checked
	delays
	trouble
	hooks
}

// lines are an agent's connections to libvirts.
type lines struct {
	keeper  *virt.Keeper
	peers   map[string]virt.Conn // by attempt
	peerURI map[string]string
	pipe    time.Duration // when the last thing from the own libvirt's connection arrives
}

// delays are how much longer libvirt takes for the next of something.
type delays struct {
	lookTakes    time.Duration // a look on which an order is obeyed
	destroyTakes time.Duration // the end of a process that is destroyed
}

// trouble is what the journal's disk does to an agent.
type trouble struct {
	failing   bool // the journal can't be written
	dieIn     int  // writes until the agent is killed; 0: never
	dieBefore bool // instead of that write, not after it
	writes    int
}

// checked is what a look has shown.
type checked struct {
	at      time.Duration
	process bool
}

// late is a call that libvirtd finds in its socket when it goes on.
type late struct {
	cause string
	do    func()
}

// heard is an order as it came in.
type heard struct {
	order    *agentv1.Order
	stale    string // why it must not be obeyed; "" when it may
	answered bool
}

func newStation(s *Sim, name string) *station {
	st := &station{
		clock: clock{s, s.between(-2*time.Second, 2*time.Second)}, name: name, host: s.fleet.Host(name),
		run: filepath.Join(s.opts.Dir, name+".journal"), copy: filepath.Join(s.opts.Dir, name+".copy"),
	}
	st.host.SetBridges("br0")
	st.host.SetInfo(func(i *virt.HostInfo) { i.MemoryKiB = hostMemory })
	return st
}

// up says whether the machine runs.
func (st *station) up() bool { return st.host.Up() }

// start starts an agent on the host.
func (st *station) start() {
	if st.core != nil || !st.up() {
		return
	}
	s := st.s
	st.life++
	life := st.life
	files, restored, err := journal.Open(st.run, st.copy, journal.Host{BootID: st.host.BootID(), Name: st.name, MachineID: "machine-" + st.name})
	if err != nil {
		s.fail("%s: the journal does not open: %v", st.name, err)
	}
	s.say("%s: agent starts, boot %s, problem %v, lost %t", st.name, st.host.BootID(), restored.Problem, restored.Lost)
	st.files, st.peers, st.peerURI, st.held, st.frozen, st.unmarked = files, map[string]virt.Conn{}, map[string]string{}, nil, false, false
	st.heard, st.checked, st.link, st.dieIn, st.failing = map[string]*heard{}, map[string]checked{}, nil, 0, false
	st.keeper = virt.NewKeeper(st.host.Opener(), "qemu:///system", func(e virt.Event) {
		if st.life != life {
			return
		}
		if e.Kind != virt.EventIteration {
			s.say("%s: libvirt says %s %s %s %s %s", st.name, e.Kind, nameOf(e.UUID), e.Event, e.Detail, e.Reason)
		}
		st.deliver(life, func() { st.core.Event(e, st.now()) })
		if e.Kind == virt.EventDisconnected {
			s.after(0, "agent "+st.name, func() { st.keepLibvirt(life) })
		}
	})
	st.core = agent.NewCore(agent.Config{
		Host: st.name, BootID: st.host.BootID(), MachineID: "machine-" + st.name, Version: "sim", PeerURI: st.host.URI(),
		ReportInterval: reportInterval, Hook: agent.HookConfig{Mode: st.mode},
	}, restored, agent.Effects{
		Outbox: st, Hands: &hands{st: st, life: life}, Watch: &watch{st: st, life: life}, Journal: &book{st},
		Log: slog.New(slog.NewTextHandler(logWriter{s, st.name}, plain)),
	}, st.now())
	st.keepLibvirt(life)
	st.keepCopy(life, -1)
	s.dial(st, life)
}

// keepLibvirt opens the connection again until there is one.
func (st *station) keepLibvirt(life int) {
	if st.life != life || st.core == nil {
		return
	}
	if st.frozen || st.keeper.Ensure(context.Background(), st.now()) != nil {
		st.s.after(250*time.Millisecond, "agent "+st.name, func() { st.keepLibvirt(life) })
	}
}

// keepCopy writes the journal's copy when there is something new.
func (st *station) keepCopy(life, written int) {
	if st.life != life || st.core == nil {
		return
	}
	if written != st.writes && !st.frozen && st.s.fleet.Now() <= st.s.busy {
		if err := journal.Copy(st.copy, st.files.State().Clone()); err != nil {
			st.s.fail("%s: copy: %v", st.name, err)
		}
		written = st.writes
	}
	at := st.s.coarse(st.s.fleet.Now() + time.Second)
	st.s.after(at-st.s.fleet.Now(), "agent "+st.name, func() { st.keepCopy(life, written) })
}

// kill kills the agent; its connections go with it.
func (st *station) kill() {
	if st.core == nil {
		return
	}
	st.s.say("%s: agent dies", st.name)
	st.life++
	st.core, st.held, st.frozen = nil, nil, false
	st.abandoned()
	_ = st.keeper.Close()
	for _, attempt := range sorted(st.peers) {
		_ = st.peers[attempt].Close()
	}
	_ = st.files.Close()
	if st.link != nil {
		st.link.agentGone()
		st.link = nil
	}
}

// crash ends the whole host at once.
func (st *station) crash() {
	if !st.up() {
		return
	}
	st.s.say("%s: the host crashes", st.name)
	st.late = nil
	st.kill()
	st.host.Crash()
	st.running, st.starts, st.waiting = 0, map[string]bool{}, map[int]func(){}
}

// boot brings a crashed host back: /run is empty, libvirtd starts with its
// autostarts, and the agent some time later.
func (st *station) boot() {
	if st.up() {
		return
	}
	st.s.say("%s: the host boots", st.name)
	for _, path := range []string{st.run, st.run + ".damaged"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			st.s.fail("%s: %v", st.name, err)
		}
	}
	if err := os.RemoveAll(st.run + ".marks"); err != nil {
		st.s.fail("%s: %v", st.name, err)
	}
	st.s.autostarts(st)
	st.host.Boot()
	clear(st.verdict)
	st.s.after(st.s.spread(50*time.Millisecond, 20*time.Second), "agent "+st.name, st.start)
}

// do runs code of the agent; a planted death in it kills the agent.
func (st *station) do(f func()) {
	if st.core == nil {
		return
	}
	if st.frozen {
		st.held = append(st.held, f)
		return
	}
	defer func() {
		if r := recover(); r != nil {
			if err, is := r.(error); !is || !errors.Is(err, errCrash) {
				panic(r)
			}
			st.s.count("agent killed at a journal write")
			st.die()
		}
	}()
	f()
}

// die kills the agent and lets systemd start it again.
func (st *station) die() {
	st.kill()
	st.s.after(st.s.spread(100*time.Millisecond, 20*time.Second), "agent "+st.name, st.start)
}

func (st *station) thaw() {
	if st.core == nil || !st.frozen {
		return
	}
	st.s.say("%s: agent thaws", st.name)
	st.frozen = false
	held := st.held
	st.held = nil
	life := st.life
	for _, f := range held {
		if st.life == life {
			st.do(f)
			st.s.check()
		}
	}
}

// deliver carries something that came over libvirt's connection into the agent:
// in order, whatever it is.
func (st *station) deliver(life int, f func()) {
	now := st.s.fleet.Now()
	st.pipe = max(st.pipe, now+st.s.latency())
	st.s.after(st.pipe-now, "agent "+st.name, func() {
		if st.life == life {
			st.do(f)
		}
	})
}

// wake says when the agent wants to be woken.
func (st *station) wake() (time.Duration, bool) {
	if st.core == nil || st.frozen {
		return 0, false
	}
	return st.s.coarse(st.s.fleet.Now() + max(st.until(st.core.Wake()), 0)), true
}

// Send takes what the agent says to the manager.
func (st *station) Send(m *agentv1.AgentMessage) {
	switch b := m.GetBody().(type) {
	case *agentv1.AgentMessage_Result:
		st.s.say("%s: answers %s %s %s", st.name, b.Result.GetOrder(), outcome(b.Result), b.Result.GetReason())
		st.s.answered(st, b.Result)
	case *agentv1.AgentMessage_Sighting:
		st.s.say("%s: shows %s", st.name, describe(b.Sighting.GetDomain()))
	case *agentv1.AgentMessage_Report:
		if !b.Report.GetLibvirtd() {
			st.s.say("%s: reports that libvirtd does not answer", st.name)
		}
	}
	if st.link != nil {
		st.link.up(m)
	}
}

// hear hands an order to the agent and remembers whether it may be obeyed.
func (st *station) hear(o *agentv1.Order) {
	h := st.heard[o.GetId()]
	if h == nil {
		h = &heard{order: o}
		st.heard[o.GetId()] = h
	}
	if !h.answered {
		h.stale = st.stale(o)
	}
	st.s.say("%s: hears %s %s %s epoch %d %s", st.name, o.GetId(), kind(o), nameOf(o.GetDomain()), o.GetEpoch(), h.stale)
	st.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Order{Order: o}}, st.now())
}

// stale says by the rules, not by the agent's code, why an order is old.
func (st *station) stale(o *agentv1.Order) string {
	known := st.files.State()
	switch {
	case o.GetBootId() != st.host.BootID():
		return "of another boot"
	case st.link == nil || st.link.id == "" || o.GetSession() != st.link.id:
		return "of another session"
	case o.GetGeneration() < known.Host.Generation || o.GetGeneration() == known.Host.Generation && o.GetTerm() < known.Host.Term:
		return "of an older manager"
	}
	if d, is := known.Domains[o.GetDomain()]; is && o.GetDomain() != "" && o.GetGeneration() == d.Generation && o.GetEpoch() < d.Epoch {
		return fmt.Sprintf("of epoch %d, older than %d", o.GetEpoch(), d.Epoch)
	}
	return ""
}

// book is the agent's journal with deaths and a full disk in it.
type book struct{ st *station }

func (b *book) State() journal.State { return b.st.files.State() }
func (b *book) Tidy() error          { return b.st.files.Tidy() }

func (b *book) Marks() ([]journal.Mark, error) {
	if b.st.unmarked {
		return nil, nil
	}
	marks, err := b.st.files.Marks()
	b.st.unmarked = len(marks) == 0 && err == nil
	return marks, err
}
func (b *book) MarkOf(uuid string) *journal.Mark { return b.st.files.MarkOf(uuid) }
func (b *book) TakeMark(uuid string) error       { return b.st.files.TakeMark(uuid) }

func (b *book) Forget(uuid string) error {
	return b.write(func() error { return b.st.files.Forget(uuid) })
}
func (b *book) SetHost(h journal.Host) error {
	if old := b.st.files.State().Host; h.Generation < old.Generation || h.Generation == old.Generation && h.Term < old.Term {
		b.st.s.fail("%s: the term goes back from %d to %d", b.st.name, old.Term, h.Term)
	}
	return b.write(func() error { return b.st.files.SetHost(h) })
}
func (b *book) SetDomain(d journal.Domain) error {
	old := b.st.files.State().Domains[d.UUID]
	b.st.s.journaled(b.st, old, d)
	return b.write(func() error { return b.st.files.SetDomain(d) })
}

var errNoSpace = errors.New("no space left on device")

func (b *book) write(w func() error) error {
	st := b.st
	st.writes++
	if st.failing {
		return errNoSpace
	}
	die := st.dieIn == 1
	if st.dieIn > 0 {
		st.dieIn--
	}
	if die && st.dieBefore {
		panic(errCrash)
	}
	err := w()
	if die {
		panic(errCrash)
	}
	return err
}

type logWriter struct {
	s   *Sim
	who string
}

func (w logWriter) Write(p []byte) (int, error) {
	w.s.say("%s| %s", w.who, strings.TrimSpace(string(p)))
	return len(p), nil
}

// plain leaves out what the simulator's own log has.
var plain = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}
