package manager

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// Scorer is the prediction as the core uses it; ModelScorer is the real one.
type Scorer interface {
	// Name identifies the model.
	Name() string
	// Memory is what is remembered of one component: new, or from a snapshot.
	Memory(component string, snapshot []byte) (Memory, error)
	// Assess says what the components of one host mean for its guests.
	Assess(host string, components []Memory, needs []store.Dependency, at time.Time) Assessment
}

// Memory is what a model remembers of one component.
type Memory interface {
	Observe(signal.Reading)
	Snapshot() ([]byte, error)
}

// Assessment is a host's risk.
type Assessment struct {
	Host       decide.Risk
	Threats    []decide.Threat // without Hold
	Components []store.ComponentRisk
	Notes      []string // what could not be known
}

// riskState is a host's risk, and how long it has stood where it is.
type riskState struct {
	memories map[string]Memory
	now      Assessment
	hold     decide.Hold
	threats  map[string]decide.Hold // by component
	stale    bool                   // dependencies changed since the assessment
	unsaved  map[string]bool        // components whose memory is newer than its snapshot
	saved    time.Time
}

func newRiskState() riskState {
	return riskState{memories: map[string]Memory{}, threats: map[string]decide.Hold{}, unsaved: map[string]bool{}}
}

// loadRisks gives the model its memory back.
func (c *Core) loadRisks(ctx context.Context, now time.Time) error {
	states, err := c.rd.States(ctx, "")
	if err != nil {
		return err
	}
	for _, s := range states {
		if h := c.hosts[s.Host]; h != nil {
			if err := c.recall(ctx, h, s.Component, s.State, s.At); err != nil {
				return err
			}
		}
	}
	for _, h := range c.hosts {
		latest, err := c.rd.Latest(ctx, h.Name)
		if err != nil {
			return err
		}
		for _, r := range latest {
			if h.risk.memories[r.Component] == nil {
				if err := c.recall(ctx, h, r.Component, nil, time.Time{}); err != nil {
					return err
				}
			}
		}
	}
	for _, h := range c.hosts {
		h.risk.hold.Level = levelOf(h.State)
		h.risk.hold.Toward = h.risk.hold.Level
		for _, d := range c.decisions {
			// What a person asked for says nothing of the score.
			risky := d.Risk.Hard || d.Risk.P30d >= c.pol.Decide.Evacuate.Leave
			if d.Host == h.Name && d.Kind == store.DecideEvacuate && d.Component == "" && risky && d.standing() {
				h.risk.hold = decide.Hold{Level: decide.LevelEvacuate, Toward: decide.LevelEvacuate}
			}
			if d.Host == h.Name && d.Component != "" && d.standing() {
				h.risk.threats[d.Component] = decide.Hold{Level: decide.LevelEvacuate, Toward: decide.LevelEvacuate}
			}
		}
		if len(h.risk.memories) > 0 {
			c.assess(h, now)
		}
	}
	return nil
}

// recall restores the memory of one component from its snapshot, and shows it
// the readings that were kept since. Without a snapshot, or with one of another
// version, all that is stored is shown.
func (c *Core) recall(ctx context.Context, h *host, component string, snapshot []byte, since time.Time) error {
	m, err := c.score.Memory(component, snapshot)
	if err != nil {
		c.log.Warn("the model's memory is rebuilt from readings", "host", h.Name, "component", component, "reason", err)
		since = time.Time{}
		if m, err = c.score.Memory(component, nil); err != nil {
			return err
		}
	}
	if err := c.shown(ctx, m, h.Name, component, since); err != nil {
		return err
	}
	h.risk.memories[component] = m
	return nil
}

// shown shows a memory the readings that were kept since.
func (c *Core) shown(ctx context.Context, m Memory, host, component string, since time.Time) error {
	past, err := c.rd.History(ctx, store.Query{Host: host, Component: component, Since: since})
	if err != nil {
		return err
	}
	for _, r := range past {
		m.Observe(r)
	}
	return nil
}

// levelOf is where a score must have stood for a host to be in a state.
func levelOf(s store.HostState) decide.Level {
	switch s {
	case store.Watch:
		return decide.LevelWatch
	case store.Quarantined:
		return decide.LevelQuarantine
	}
	return decide.Fine
}

// readings takes a batch: kept first, then answered; scored at once.
func (c *Core) readings(now time.Time, s *Session, b *agentv1.ReadingBatch) {
	h := s.host
	batch := make([]signal.Reading, 0, len(b.GetReadings()))
	for _, r := range b.GetReadings() {
		batch = append(batch, signal.Reading{
			Host: h.Name, Component: r.GetComponent(), Signal: r.GetSignal(), Value: r.Value, Text: r.GetText(), Unit: r.GetUnit(),
			ObservedAt: r.GetObservedAt().AsTime(), BootID: b.GetBootId(), Seq: r.GetSeq(), Status: signal.Status(r.GetStatus()),
		})
	}
	batch = c.sound(batch)
	c.keep(batch, func(now time.Time, err error) {
		if err == nil && s.live() {
			c.send(s, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Kept{Kept: &agentv1.ReadingsKept{Id: b.GetId()}}})
		}
	})
	c.observe(h, batch, now)
}

// sound drops what the catalogue does not know: a name that is not in it does
// not exist.
func (c *Core) sound(batch []signal.Reading) []signal.Reading {
	return slices.DeleteFunc(batch, func(r signal.Reading) bool {
		bad := !signal.Known(r.Signal) || r.Component == "" || r.ObservedAt.IsZero()
		if bad {
			c.book.dropped++
		}
		return bad
	})
}

// keep stores readings in the background.
func (c *Core) keep(batch []signal.Reading, then func(now time.Time, err error)) {
	c.bg.Go(func(ctx context.Context) error {
		_, err := c.rd.Keep(ctx, batch)
		return err
	}, func(now time.Time, err error) {
		if err != nil {
			c.log.Error("readings not kept", "err", err)
		}
		then(now, err)
	})
}

// observe shows readings to the model and scores what they touched.
func (c *Core) observe(h *host, batch []signal.Reading, now time.Time) {
	touched := map[string]bool{}
	for _, r := range batch {
		m := h.risk.memories[r.Component]
		if m == nil {
			var err error
			if m, err = c.score.Memory(r.Component, nil); err != nil {
				c.log.Error("no memory for a component", "host", h.Name, "component", r.Component, "err", err)
				continue
			}
			h.risk.memories[r.Component] = m
		}
		m.Observe(r)
		touched[r.Component] = true
	}
	if len(touched) > 0 {
		c.rescore(h, touched, now)
	}
}

// rescore assesses a host again. Holds count a score only for components that
// something new was read of.
func (c *Core) rescore(h *host, touched map[string]bool, now time.Time) {
	before, stood := h.risk.now, h.risk.levels()
	c.assess(h, now)
	for name := range touched {
		h.risk.unsaved[name] = true
	}
	for i := range h.risk.now.Threats {
		t := &h.risk.now.Threats[i]
		h.risk.threats[t.Component] = h.risk.threats[t.Component].Observe(t.Risk, touched[t.Component], c.pol.Decide, now)
	}
	fresh := false
	for name := range touched {
		if !slices.ContainsFunc(h.risk.now.Threats, func(t decide.Threat) bool { return t.Component == name }) {
			fresh = true
		}
	}
	h.risk.hold = h.risk.hold.Observe(h.risk.now.Host, fresh, c.pol.Decide, now)
	c.saveRisks(h, before, now)
	if !maps.Equal(stood, h.risk.levels()) || h.risk.now.Host.Hard != before.Host.Hard {
		c.decide(now) // else time decides, with the next pass
	}
}

// levels are where the host's scores stand; the whole host's is under "".
func (r *riskState) levels() map[string]decide.Level {
	out := map[string]decide.Level{"": r.hold.Level}
	for name, h := range r.threats {
		out[name] = h.Level
	}
	return out
}

func (c *Core) assess(h *host, now time.Time) {
	names := slices.Sorted(maps.Keys(h.risk.memories))
	components := make([]Memory, len(names))
	for i, n := range names {
		components[i] = h.risk.memories[n]
	}
	h.risk.now = c.score.Assess(h.Name, components, h.Facts.Dependencies, now)
	c.nameGuests(h)
	h.risk.stale = false
	risk := storeRisk(h.risk.now.Host)
	if risk.P30d != h.Risk.P30d || risk.Hard != h.Risk.Hard {
		h.dirty = true
	}
	h.Risk = risk
}

// nameGuests puts the names that people know in the place of UUIDs.
func (c *Core) nameGuests(h *host) {
	var pairs []string
	for _, d := range h.Facts.Dependencies {
		if d.Kind == "domain" {
			pairs = append(pairs, d.Name, c.domainName(d.Name))
		}
	}
	if pairs == nil {
		return
	}
	names := strings.NewReplacer(pairs...)
	for i := range h.risk.now.Components {
		h.risk.now.Components[i].Impact = names.Replace(h.risk.now.Components[i].Impact)
	}
	for i := range h.risk.now.Threats {
		h.risk.now.Threats[i].Impact = names.Replace(h.risk.now.Threats[i].Impact)
	}
}

// saveRisks keeps scores that changed, and now and then the model's memory.
func (c *Core) saveRisks(h *host, before Assessment, now time.Time) {
	var risks []store.ComponentRisk
	for i, r := range h.risk.now.Components {
		if i >= len(before.Components) || before.Components[i].Component != r.Component || before.Components[i].Score.P30d != r.Score.P30d ||
			before.Components[i].Score.Hard != r.Score.Hard || before.Components[i].Impact != r.Impact {
			risks = append(risks, r)
		}
	}
	var states []store.ModelState
	if now.Sub(h.risk.saved) >= c.pol.Pace.Snapshot {
		states = c.snapshots(h, now)
	}
	if len(risks)+len(states) == 0 {
		return
	}
	c.bg.Go(func(ctx context.Context) error {
		if err := c.rd.PutStates(ctx, states); err != nil {
			return err
		}
		return c.rd.PutRisks(ctx, risks)
	}, func(_ time.Time, err error) {
		if err != nil {
			c.log.Error("risks not kept", "host", h.Name, "err", err)
		}
	})
}

// snapshots are the memories that have changed since they were stored. A
// manager that dies before shows them the readings since again.
func (c *Core) snapshots(h *host, now time.Time) []store.ModelState {
	var states []store.ModelState
	for _, name := range sortedKeys(h.risk.unsaved) {
		b, err := h.risk.memories[name].Snapshot()
		if err != nil {
			c.log.Error("the model's memory cannot be kept", "host", h.Name, "component", name, "err", err)
			continue
		}
		states = append(states, store.ModelState{Host: h.Name, Component: name, Model: c.score.Name(), State: b, At: now})
	}
	clear(h.risk.unsaved)
	h.risk.saved = now
	return states
}

// imported takes a host's recorded past, as if its agent had reported it.
func (c *Core) imported(name string, batch []signal.Reading, then func(kept int, err error)) error {
	h := c.hosts[name]
	if h == nil {
		return fmt.Errorf("host %s: %w", name, store.ErrNotFound)
	}
	given := len(batch)
	batch = c.sound(batch)
	if len(batch) != given {
		return fmt.Errorf("%d of %d readings name a signal that is not in the catalogue, or no component or time: %w", given-len(batch), given, store.ErrInvalid)
	}
	touched := map[string]bool{}
	for _, r := range batch {
		touched[r.Component] = true
	}
	kept, rebuilt := 0, map[string]Memory{}
	c.bg.Go(func(ctx context.Context) error {
		var err error
		if kept, err = c.rd.Keep(ctx, batch); err != nil || kept == 0 {
			return err // a second import of the same past changes nothing
		}
		// The past must come before what the agent has reported already: a
		// memory that saw it last would believe that it happened now.
		for component := range touched {
			m, err := c.score.Memory(component, nil)
			if err == nil {
				err = c.shown(ctx, m, name, component, time.Time{})
			}
			if err != nil {
				return err
			}
			rebuilt[component] = m
		}
		return nil
	}, func(now time.Time, err error) {
		if err == nil && kept > 0 {
			// Snapshots that are stored know nothing of it: new ones are taken now.
			h.risk.saved = time.Time{}
			maps.Copy(h.risk.memories, rebuilt)
			c.rescore(h, touched, now)
		}
		then(kept, err)
	})
	return nil
}

// retention is how long readings are kept: enough raw ones for the model's
// longest window, sums for a year and ten.
var retention = store.Retention{Raw: 100 * 24 * time.Hour, Hourly: 400 * 24 * time.Hour, Daily: 10 * 366 * 24 * time.Hour}

func retainWork(rd store.Readings, now time.Time) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		_, err := rd.Retain(ctx, now, retention)
		return err
	}
}

func storeRisk(r decide.Risk) store.Risk {
	return store.Risk{P24h: r.P24h, P7d: r.P7d, P30d: r.P30d, Low30d: r.Low30d, High30d: r.High30d, Grade: r.Grade, Hard: r.Hard, At: r.At}
}
