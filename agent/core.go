package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Protocol is the version of the conversation that this agent speaks.
const Protocol = 1

// Effects are the Core's ways out.
type Effects struct {
	Outbox  Outbox
	Hands   Hands
	Watch   Watch
	Journal Journal
	Log     *slog.Logger
}

// Core is the agent's state machine. One goroutine calls its methods, with the
// time; nothing in it blocks, waits or runs by itself.
type Core struct {
	cfg Config
	Effects

	host    journal.Host
	domains map[string]*domain
	// began is when this agent began; remembers says whether its journal was
	// whole. If not, a call that nobody remembers may still be out for a while.
	began     time.Time
	remembers bool

	link     link
	libvirt  libvirt
	reports  reports
	readings readings
	answers  answers

	permissions permissions
	proof       proof
	notes       []*agentv1.Note
	timers      timers
	// step counts inputs: what began at a later step is the newer word.
	step uint64
}

// link is the conversation with the manager.
type link struct {
	session  string // "" without one
	interval time.Duration
	lostAt   time.Time // of the last one, or when the agent began
	seq      uint64
}

// libvirt is what is known of the connection to the host's own libvirtd.
type libvirt struct {
	up    bool
	facts Facts
	known bool // facts are
}

// NewCore returns a Core over what the journal says. It begins to act with the
// first Event of kind Connected.
func NewCore(cfg Config, restored journal.Restored, fx Effects, now time.Time) *Core {
	s := fx.Journal.State()
	c := &Core{
		cfg: cfg, Effects: fx, host: s.Host, domains: map[string]*domain{},
		began: now, remembers: !restored.Lost,
		link: link{interval: cfg.ReportInterval, lostAt: now},
	}
	// Batches of an agent that has been restarted must not look like those of
	// the one before.
	c.readings.last = uint64(now.UnixMilli())
	for _, uuid := range s.UUIDs() {
		c.domains[uuid] = &domain{Domain: s.Domains[uuid].Clone()}
	}
	if restored.Problem != nil {
		c.note(now, "", fmt.Sprintf("what this agent had journaled is lost, nothing is held until it is confirmed: %v", restored.Problem))
	}
	for _, d := range c.each() {
		c.pickUp(d, now)
	}
	if h := c.host; h.HookMode != string(cfg.Hook.Mode) {
		h.HookMode = string(cfg.Hook.Mode)
		// Failing is logged; the hook can still read the configuration.
		_ = c.setHost(h)
	}
	c.unproved()
	c.readMarks(now)
	c.later(now.Add(tidyEvery), c.tidy)
	return c
}

// tidyEvery is how often the journal is looked after.
const tidyEvery = time.Second

// keepSettled is how long a host remembers a domain that it has nothing to do
// with any more. The epochs of younger entries refuse late orders.
const keepSettled = 7 * 24 * time.Hour

func (c *Core) tidy(now time.Time) {
	c.later(now.Add(tidyEvery), c.tidy)
	c.readMarks(now)
	if !c.remembers && now.Sub(c.began) >= callMayWait {
		h := c.host
		h.Lost = false
		c.remembers = c.setHost(h) == nil
	}
	for _, d := range c.each() {
		if d.unwritten {
			c.write(d)
		}
		if d.known || d.busy() {
			continue
		}
		settled := d.Phase == journal.Released && d.open() == nil && now.Sub(d.Changed) > keepSettled
		if !d.journaled() || settled && c.Journal.Forget(d.UUID) == nil {
			delete(c.domains, d.UUID)
		}
	}
	if err := c.Journal.Tidy(); err != nil {
		c.Log.Warn("journal not tidied", "error", err)
	}
}

// each returns the domains in the order of their UUIDs.
func (c *Core) each() []*domain {
	out := make([]*domain, 0, len(c.domains))
	for _, uuid := range slices.Sorted(maps.Keys(c.domains)) {
		out = append(out, c.domains[uuid])
	}
	return out
}

func (c *Core) domain(uuid string) *domain {
	d := c.domains[uuid]
	if d == nil {
		d = &domain{Domain: journal.Domain{UUID: uuid}}
		c.domains[uuid] = d
	}
	return d
}

// Hello is how the next session begins.
func (c *Core) Hello() *agentv1.Hello {
	return &agentv1.Hello{
		Identity: c.identity(), BootId: c.host.BootID,
		Generation: c.host.Generation, Term: c.host.Term,
		AgentVersion: c.cfg.Version, Protocol: Protocol,
	}
}

func (c *Core) identity() *agentv1.Identity {
	return &agentv1.Identity{Host: c.host.Name, LibvirtHostUuid: c.host.LibvirtUUID, MachineId: c.host.MachineID}
}

// Opened begins a session. An error means that there is none.
func (c *Core) Opened(w *agentv1.Welcome, now time.Time) error {
	c.step++
	switch {
	case w.GetRefused() != "":
		return fmt.Errorf("the manager refused this agent: %s", w.GetRefused())
	case w.GetSession() == "":
		return fmt.Errorf("the manager's welcome names no session")
	}
	if err := c.older(w.GetGeneration(), w.GetTerm()); err != nil {
		return err
	}
	// A journal that can't be written refuses orders; it does not keep the host
	// from saying what is true.
	_ = c.adopt(w.GetGeneration(), w.GetTerm())
	c.link.session = w.GetSession()
	if d := w.GetReportInterval().AsDuration(); d > 0 {
		c.link.interval = d
	}
	c.reports.asked, c.reports.since, c.reports.answers = 0, 0, 0
	for _, n := range c.notes {
		c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Note{Note: n}})
	}
	c.notes = nil
	c.wantReport(now)
	c.resendReadings()
	return nil
}

// Closed ends the session.
func (c *Core) Closed(now time.Time) {
	c.step++
	if c.link.session == "" {
		return
	}
	c.link.session, c.link.lostAt = "", now
	c.deserted(now)
	for _, d := range c.each() {
		c.considerAlone(d, now)
	}
}

// older says that a manager of this generation and term has been replaced.
func (c *Core) older(generation, term uint64) error {
	switch {
	case generation < c.host.Generation:
		return fmt.Errorf("generation %d is older than %d", generation, c.host.Generation)
	case generation == c.host.Generation && term < c.host.Term:
		return fmt.Errorf("term %d is older than %d", term, c.host.Term)
	}
	return nil
}

// adopt journals a generation and term that are newer than the known ones; an
// error says that they are older, or that the journal can't be written.
func (c *Core) adopt(generation, term uint64) error {
	if err := c.older(generation, term); err != nil {
		return err
	}
	h := c.host
	h.Generation, h.Term = generation, term
	if h == c.host {
		return nil
	}
	if err := c.setHost(h); err != nil {
		return fmt.Errorf("the journal can't be written: %w", err)
	}
	return nil
}

func (c *Core) setHost(h journal.Host) error {
	if err := c.Journal.SetHost(h); err != nil {
		c.Log.Error("journal not written", "error", err)
		return err
	}
	c.host = h
	return nil
}

// Received takes one message of the session's manager.
func (c *Core) Received(m *agentv1.ManagerMessage, now time.Time) {
	c.step++
	switch b := m.GetBody().(type) {
	case *agentv1.ManagerMessage_Order:
		c.order(b.Order, now)
	case *agentv1.ManagerMessage_Ask:
		c.reports.asked, c.reports.since = max(c.reports.asked, b.Ask.GetId()), c.step
		c.wantReport(now)
	case *agentv1.ManagerMessage_Permission:
		c.granted(b.Permission, now)
	case *agentv1.ManagerMessage_Kept:
		c.readings.kept(b.Kept.GetId())
	case *agentv1.ManagerMessage_Virsh:
		id := b.Virsh.GetId()
		c.Hands.Virsh(b.Virsh.GetArgs(), func(_ time.Time, r *agentv1.VirshResult, err error) {
			if err != nil {
				r = &agentv1.VirshResult{Error: err.Error()}
			}
			r.Id = id
			c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Virsh{Virsh: r}})
		})
	}
}

// Event takes what libvirt said by itself, and what became of the connection
// that carries it.
func (c *Core) Event(e virt.Event, now time.Time) {
	c.step++
	switch e.Kind {
	case virt.EventConnected:
		c.libvirt.up = true
		c.unproved()
		c.refreshFacts()
		c.wantReport(now)
		c.survivors(now)
	case virt.EventDisconnected:
		c.Log.Warn("libvirt connection lost", "reason", e.Reason)
		c.libvirt.up = false
		for _, d := range c.each() {
			d.blind = true
			d.touched = c.step
			if dep := d.leaving(); dep != nil && dep.Call == journal.CallOut {
				// Its connection may have gone the same way.
				d.call.lost, d.call.idle = true, time.Time{}
			}
		}
		c.wantReport(now)
		c.reportIfReady(now)
	case virt.EventLifecycle:
		if hook.IsProbe(e.UUID) {
			return
		}
		d := c.domain(e.UUID)
		d.touched = c.step
		c.lifecycle(d, e, now)
		c.look(d, now)
	case virt.EventJobDone:
		if d := c.domains[e.UUID]; d != nil {
			d.touched = c.step
			c.look(d, now)
		}
	case virt.EventIteration:
		if d := c.domains[e.UUID]; d != nil {
			c.limitPause(d, e.Iteration)
		}
	}
}

func (c *Core) refreshFacts() {
	c.Hands.Facts(func(now time.Time, f Facts, err error) {
		if err != nil {
			c.Log.Warn("host not described by libvirt", "error", err)
			return
		}
		c.libvirt.facts, c.libvirt.known = f, true
		if f.UUID != "" && f.UUID != c.host.LibvirtUUID {
			h := c.host
			h.LibvirtUUID = f.UUID
			// Failing is logged; the next facts try again.
			_ = c.setHost(h)
		}
		c.prove(now)
	})
}

// send hands a message to the session, if there is one.
func (c *Core) send(m *agentv1.AgentMessage) {
	if c.link.session != "" {
		c.Outbox.Send(m)
	}
}

// notesKept is how many notes wait for the manager while it is away.
const notesKept = 100

// note tells the operators something: now, or when the manager is back.
func (c *Core) note(now time.Time, domain, text string) {
	c.Log.Info(text, "domain", domain)
	n := &agentv1.Note{At: timestamppb.New(now), Domain: domain, Text: text}
	if c.link.session != "" {
		c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Note{Note: n}})
		return
	}
	c.notes = append(c.notes, n)
	if len(c.notes) > notesKept {
		c.notes = slices.Delete(c.notes, 0, 1)
	}
}
