package manager

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// standing is a decision that still matters: one that stands, or one that acted
// lately and counts against the brakes.
type standing struct {
	store.Decision
	domains []string // those that are to leave; nil: all of the host
}

func (d *standing) standing() bool {
	if d.Kind == store.DecideMoveDomains && d.Status == store.Done {
		return true // until its cause is gone: the part still fails
	}
	return decide.Status(d.Status).Stands() && d.wants()
}

// wants says whether the decision is one that makes guests leave, or says why
// none does. Changes of state are done when they are made.
func (d *standing) wants() bool {
	switch d.Kind {
	case store.DecideEvacuate, store.DecideMoveDomains, store.DecideNotice:
		return true
	}
	return false
}

// automatic says whether automation acted, without a person's word.
func (d *standing) automatic() bool {
	return d.ResolvedBy == "" && (d.Status == store.Acting || d.Status == store.Done) && (d.Kind == store.DecideEvacuate || d.Kind == store.DecideMoveDomains)
}

// evidence is what a decision was made on, as it is stored with it. Replaying
// Decide on Snapshot, Policy and its time gives Decision again.
type evidence struct {
	Snapshot decide.Snapshot `json:"snapshot"`
	Policy   decide.Policy   `json:"policy"`
	Decision decide.Decision `json:"decision"`
	Domains  []string        `json:"domains,omitempty"`
}

// loadDecisions brings back what stands and what counts against the brakes.
func (c *Core) loadDecisions(r store.Reader, now time.Time) error {
	all, err := r.Decisions(store.DecisionFilter{Limit: 1000})
	if err != nil {
		return err
	}
	for _, d := range all {
		s := &standing{Decision: d}
		if !s.standing() && !(s.automatic() && now.Sub(d.At) < c.pol.Decide.Window) && !c.isStateOf(&d) {
			continue
		}
		if d.Kind == store.DecideMoveDomains {
			full, err := r.Decision(d.ID)
			if err != nil {
				return err
			}
			var e evidence
			if err := json.Unmarshal(full.Evidence, &e); err != nil {
				return fmt.Errorf("evidence of decision %s: %w", d.ID, err)
			}
			s.domains = e.Domains
		}
		c.decisions[d.ID] = s
	}
	return c.loadTries(r, now)
}

// isStateOf says whether a host is emptied, or was, because of a decision.
func (c *Core) isStateOf(d *store.Decision) bool {
	h := c.hosts[d.Host]
	return h != nil && h.StateDecision == d.ID && (h.State == store.Evacuating || h.State == store.Drained)
}

func (c *Core) sortedDecisions() []*standing {
	return slices.SortedFunc(maps.Values(c.decisions), func(a, b *standing) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
}

// unsettled says whether time alone may change a decision: a score that stands
// beyond a threshold, or that is on its way over one. A fleet that is well is
// not looked at every second.
func (c *Core) unsettled() bool {
	for _, h := range c.hosts {
		if h.risk.hold.Level != decide.Fine || h.risk.hold.Toward != decide.Fine || h.State == store.Watch || h.State == store.Quarantined {
			return true
		}
		for _, t := range h.risk.threats {
			if t.Level != decide.Fine || t.Toward != decide.Fine {
				return true
			}
		}
	}
	return false
}

// decide looks at everything and does what follows.
func (c *Core) decide(now time.Time) {
	c.pace.decided, c.pace.decideSoon = now, false
	for _, h := range c.hosts {
		h.risk.hold = h.risk.hold.Observe(h.risk.now.Host, false, c.pol.Decide, now)
		for _, t := range h.risk.now.Threats {
			h.risk.threats[t.Component] = h.risk.threats[t.Component].Observe(t.Risk, false, c.pol.Decide, now)
		}
	}
	s := c.snapshot(now, view{})
	for _, d := range decide.Decide(s, c.pol.Decide, now) {
		if c.fatal != nil {
			return
		}
		c.apply(s, d, now)
	}
	for id, d := range c.decisions {
		if !d.standing() && !c.isStateOf(&d.Decision) && now.Sub(d.At) >= c.pol.Decide.Window {
			delete(c.decisions, id)
		}
	}
}

// apply writes one decision, what it changes and the rows it wants, together.
func (c *Core) apply(s decide.Snapshot, d decide.Decision, now time.Time) {
	if d.Kind == "" { // only ends another one
		c.supersede(d.Supersedes, d.Summary, now)
		return
	}
	var domains []string
	if d.Kind == decide.KindMoveDomains {
		for _, p := range d.Placements {
			domains = append(domains, p.Domain)
		}
	}
	c.record(s, d, domains, "", "", now)
}

// record makes a decision durable, with its evidence, the host's new state and,
// if it acts, its rows; then it is in force.
func (c *Core) record(s decide.Snapshot, d decide.Decision, domains []string, by, reason string, now time.Time) (*standing, error) {
	ev, err := json.Marshal(evidence{Snapshot: s, Policy: c.pol.Decide, Decision: d, Domains: domains})
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	n := &standing{domains: domains, Decision: store.Decision{
		ID: c.newID("d"), At: now, Host: d.Host, Kind: store.DecisionKind(d.Kind), Status: store.DecisionStatus(d.Status),
		Component: d.Component, Cause: d.Cause,
		Summary: d.Summary, Threshold: d.Threshold, Risk: storeRisk(d.Risk), Reasons: storeReasons(d.Risk.Reasons),
		Placements: storePlacements(d.Placements), Model: d.Risk.Model, Evidence: ev, ResolvedBy: by, Resolution: reason,
	}}
	if by != "" {
		n.ResolvedAt = now
	}
	old := c.decisions[d.Supersedes]
	var was store.Decision
	if old != nil {
		was = old.Decision
		was.Status, was.ResolvedAt = store.Superseded, now
		was.Resolution = cmp.Or(was.Resolution, "superseded by "+n.ID)
	}
	h := c.hosts[d.Host]
	host := h.Host
	change := d.State != "" && store.HostState(d.State) != h.State
	if change {
		host.State, host.StateReason, host.StateSince, host.StateDecision = store.HostState(d.State), d.Summary, now, n.ID
	}
	var rows []migration.Row
	if n.Status == store.Acting {
		rows = c.rowsFor(n, d.Placements, now)
	}
	severity := store.Info
	if d.Kind == decide.KindEvacuate || d.Kind == decide.KindMoveDomains {
		severity = store.Warning
	}
	text := string(n.Status) + ": " + d.Summary
	if by != "" { // the summary begins with who it was, which the event says already
		text = strings.TrimSuffix(string(n.Status)+": "+reason, ": ")
	}
	event := store.Event{At: now, Kind: "decision." + string(d.Kind), Severity: severity, Host: d.Host, Decision: n.ID, Who: by, Text: text}
	err = c.update("deciding about "+d.Host, func(tx store.Tx) error {
		if err := tx.PutDecision(n.Decision); err != nil {
			return err
		}
		if old != nil {
			if err := tx.PutDecision(was); err != nil {
				return err
			}
		}
		if change {
			if err := tx.PutHost(host); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := tx.PutMigration(r); err != nil {
				return err
			}
		}
		_, err := tx.AppendEvent(event)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.announce()
	n.Evidence = nil
	c.decisions[n.ID] = n
	if old != nil {
		old.Decision = was
	}
	h.Host = host
	c.log.Info("decision", "host", d.Host, "decision", n.ID, "kind", string(d.Kind), "status", string(n.Status), "reason", d.Summary)
	for _, r := range rows {
		c.addMove(r)
	}
	c.reconcileTakes(h, now)
	c.fill(now)
	return n, nil
}

// rowsFor plans a row for each domain that has a target. A nanosecond between
// them keeps the plan's order.
func (c *Core) rowsFor(d *standing, ps []decide.Placement, now time.Time) []migration.Row {
	var rows []migration.Row
	for i, p := range ps {
		if p.Target == "" {
			continue
		}
		rows = append(rows, migration.Row{
			ID: c.newID("m"), Domain: p.Domain, DomainName: p.Name, Source: d.Host, Target: p.Target,
			Reason: d.Summary, Decision: d.ID, State: migration.Planned, Planned: now.Add(time.Duration(i)), Switchover: c.pol.Switchover,
			Before: migration.Before{MemoryKiB: p.MemoryKiB},
			Steps:  []migration.Step{{At: now, Name: string(migration.Planned), Detail: p.Target + ": " + p.Why}},
		})
	}
	return rows
}

// supersede ends a decision whose cause is gone.
func (c *Core) supersede(id, why string, now time.Time) {
	d := c.decisions[id]
	if d == nil {
		return
	}
	next := d.Decision
	if next.Resolution != "" {
		why = next.Resolution + "; " + why
	}
	next.Status, next.Resolution, next.ResolvedAt = store.Superseded, why, now
	if c.putDecision(d, next, store.Event{Kind: "decision.superseded", Host: d.Host, Decision: d.ID, Text: why}, now) {
		c.log.Info("decision superseded", "host", d.Host, "decision", d.ID, "reason", why)
	}
}

// putDecision changes a decision, with an event.
func (c *Core) putDecision(d *standing, next store.Decision, e store.Event, now time.Time) bool {
	e.At = now
	e.Severity = cmp.Or(e.Severity, store.Info)
	err := c.update("changing decision "+d.ID, func(tx store.Tx) error {
		if err := tx.PutDecision(next); err != nil {
			return err
		}
		_, err := tx.AppendEvent(e)
		return err
	})
	if err != nil {
		return false
	}
	d.Decision = next
	return true
}

func storeReasons(rs []decide.Reason) []store.Reason {
	out := make([]store.Reason, len(rs))
	for i, r := range rs {
		out[i] = store.Reason(r)
	}
	return out
}

func storePlacements(ps []decide.Placement) []store.Placement {
	out := make([]store.Placement, len(ps))
	for i, p := range ps {
		out[i] = store.Placement{Domain: p.Domain, DomainName: p.Name, Target: p.Target, Why: p.Why, MemoryKiB: p.MemoryKiB, Estimate: p.Estimate}
		for _, r := range p.Rejected {
			out[i].Rejected = append(out[i].Rejected, store.Refusal{Host: r.Host, Reason: r.Reason})
		}
	}
	return out
}
