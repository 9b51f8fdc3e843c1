package manager

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// Everything here translates what the core or the store has into what operators
// see, and nothing else.

func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func lasting(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func presentScore(r store.Risk) *managerv1.Score {
	return &managerv1.Score{P24H: r.P24h, P7D: r.P7d, P30D: r.P30d, Low30D: r.Low30d, High30D: r.High30d, Grade: r.Grade, Hard: r.Hard, At: at(r.At)}
}

func presentReasons(rs []store.Reason) []*managerv1.Reason {
	out := make([]*managerv1.Reason, len(rs))
	for i, r := range rs {
		out[i] = &managerv1.Reason{Signal: r.Signal, Text: r.Text, Value: r.Value, Usual: r.Usual, Since: at(r.Since), Weight: r.Weight}
	}
	return out
}

func presentComponents(cs []store.ComponentRisk) []*managerv1.ComponentRisk {
	out := make([]*managerv1.ComponentRisk, len(cs))
	for i, r := range cs {
		out[i] = &managerv1.ComponentRisk{Host: r.Host, Component: r.Component, Score: presentScore(r.Score), Reasons: presentReasons(r.Reasons), Impact: r.Impact, Model: r.Model}
	}
	return out
}

func (c *Core) presentClaim(cl *claim) *managerv1.Claim {
	seen := cl.Seen
	if h := c.hosts[cl.Holder]; h != nil { // the store is not written for every report
		if s := h.seen[cl.Domain]; s != nil && active(s.Domain) && s.at.After(seen) {
			seen = s.at
		}
	}
	return &managerv1.Claim{
		Domain: cl.Domain, DomainName: cl.Name, Holder: cl.Holder, Epoch: cl.Epoch, Phase: string(cl.Phase), Attempt: cl.Attempt, Target: cl.Target,
		Seen: at(seen), GrantedBy: cl.GrantedBy, RiskAtGrant: cl.RiskAtGrant, Since: at(cl.Since),
	}
}

func (c *Core) presentHost(h *host, claimed map[string]uint64) *managerv1.Host {
	out := &managerv1.Host{
		Name: h.Name, State: string(h.shown()), StateReason: h.StateReason, StateSince: at(h.StateSince), Connected: h.session != nil,
		LastReport: at(h.LastReport), Libvirtd: h.libvirtd, Risk: presentScore(h.Risk), MemoryKib: h.Facts.MemoryKiB,
		MemoryClaimedKib: claimed[h.Name], Cpus: h.Facts.CPUs, HookMode: h.Facts.HookMode, AgentVersion: h.Facts.AgentVersion, BootId: h.BootID,
		PreferredTarget: h.PreferredTarget, Dead: at(h.Dead), Heard: h.Heard >= c.id.Generation, HookProven: h.Facts.HookProven, HookProblem: h.hookProblem,
		Components: presentComponents(h.risk.now.Components), LibvirtVersion: h.Facts.LibvirtVersion, QemuVersion: h.Facts.QEMUVersion,
	}
	if !h.Revoked.IsZero() {
		out.State, out.StateReason = "removed", "removed at "+h.Revoked.UTC().Format(time.RFC3339)
	} else if !h.alive() {
		out.StateReason = h.why + "; was " + string(h.State)
	}
	for _, d := range h.Facts.Dependencies {
		out.Dependencies = append(out.Dependencies, &managerv1.Dependency{Component: d.Component, Kind: d.Kind, Name: d.Name})
	}
	for _, d := range h.last {
		out.DomainsDefined++
		if d.State != "shut off" && d.State != "none" {
			out.DomainsRunning++
		}
	}
	return out
}

// presentDomains are what is known of domains: one row per host and domain, and
// one for a claim of a domain that is seen nowhere.
func (c *Core) presentDomains(only func(host, uuid, name string) bool) []*managerv1.DomainRow {
	var out []*managerv1.DomainRow
	shown := map[string]bool{}
	for _, h := range c.sortedHosts() {
		for _, d := range h.last {
			if !only(h.Name, d.UUID, d.Name) {
				continue
			}
			row := &managerv1.DomainRow{
				Uuid: d.UUID, Name: d.Name, Host: h.Name, State: d.State, StateReason: d.StateReason, MemoryKib: d.MemoryKiB, Vcpus: d.VCPUs,
				Persistent: d.Persistent, Autostart: d.Autostart, Lockable: d.Lockable,
			}
			if !h.alive() {
				row.State, row.StateReason = "unknown", "was "+d.State+"; "+h.why
			}
			if s := h.seen[d.UUID]; s != nil {
				row.ManagedSave = s.GetManagedSave()
			}
			if cl := c.claims[d.UUID]; cl != nil {
				row.Claim = c.presentClaim(cl)
				shown[d.UUID] = shown[d.UUID] || cl.Holder == h.Name
			}
			if m := c.moveOf(d.UUID); m != nil {
				row.Migration = m.row.ID
			}
			out = append(out, row)
		}
	}
	for _, cl := range c.claims {
		if !shown[cl.Domain] && only(cl.Holder, cl.Domain, cl.Name) {
			out = append(out, &managerv1.DomainRow{Uuid: cl.Domain, Name: cl.Name, Host: cl.Holder, State: "unknown", StateReason: "claimed, not seen", Claim: c.presentClaim(cl), MemoryKib: cl.MemoryKiB})
		}
	}
	slices.SortFunc(out, func(a, b *managerv1.DomainRow) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Uuid, b.Uuid))
	})
	return out
}

func (c *Core) presentRow(r migration.Row) *managerv1.Migration {
	out := &managerv1.Migration{
		Id: r.ID, Domain: r.Domain, DomainName: r.DomainName, Source: r.Source, Target: r.Target, State: string(r.State), Switchover: string(r.Switchover),
		Reason: r.Reason, Decision: r.Decision, Started: at(cmp.Or(r.Started, r.Planned)), Ended: at(r.Ended), OutcomeReason: r.Outcome,
		Progress: &managerv1.Progress{
			DataTotal: r.Progress.DataTotal, DataProcessed: r.Progress.DataProcessed, DataRemaining: r.Progress.DataRemaining,
			BytesPerSecond: r.Progress.BytesPerSecond, Iteration: r.Progress.Iteration,
		},
	}
	if d := r.Downtime; d.Total > 0 {
		out.Downtime = &managerv1.Downtime{Total: durationpb.New(d.Total), Switch: durationpb.New(d.Switch), SourceExit: durationpb.New(d.SourceExit), Handover: durationpb.New(d.Handover)}
	}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, &managerv1.Step{At: at(s.At), Name: s.Name, Detail: s.Detail})
	}
	if r.State.Ended() {
		out.Outcome = string(r.State)
	} else if m := c.moves[r.ID]; m != nil {
		out.Waiting = m.waiting
		if out.Waiting == "" && r.State == migration.Planned {
			out.Waiting = "waits for a slot"
		}
	}
	return out
}

func presentDecision(d store.Decision) *managerv1.Decision {
	return &managerv1.Decision{
		Id: d.ID, At: at(d.At), Host: d.Host, Kind: string(d.Kind), Status: string(d.Status), Summary: d.Summary, Risk: presentScore(d.Risk),
		Threshold: d.Threshold, Reasons: presentReasons(d.Reasons), Placements: presentPlacements(d.Placements),
		ResolvedBy: d.ResolvedBy, Resolution: d.Resolution, Model: d.Model,
	}
}

func presentPlacements(ps []store.Placement) []*managerv1.Placement {
	out := make([]*managerv1.Placement, len(ps))
	for i, p := range ps {
		out[i] = &managerv1.Placement{Domain: p.Domain, DomainName: p.DomainName, Target: p.Target, Why: p.Why, MemoryKib: p.MemoryKiB, Estimate: lasting(p.Estimate)}
		for _, r := range p.Rejected {
			out[i].Rejected = append(out[i].Rejected, &managerv1.Rejected{Host: r.Host, Reason: r.Reason})
		}
	}
	return out
}

func presentEvent(e store.Event) *managerv1.Event {
	text := e.Text
	if e.Who != "" {
		text = e.Who + ": " + text
	}
	return &managerv1.Event{Id: e.ID, At: at(e.At), Kind: e.Kind, Host: e.Host, Domain: e.Domain, Migration: e.Migration, Text: text, Severity: string(e.Severity)}
}

// plan is what would happen if a host had to be emptied now.
func (c *Core) plan(name string, byHand bool, now time.Time) (decide.Snapshot, []decide.Placement) {
	s := c.snapshot(now, view{byHand: byHand})
	return s, decide.PlaceHost(s, c.pol.Decide, name, now)
}
