package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// PlanEvacuation implements the service: the same code as EvacuateHost, and
// nothing is changed.
func (m *Manager) PlanEvacuation(ctx context.Context, req *connect.Request[managerv1.PlanEvacuationRequest]) (*connect.Response[managerv1.PlanEvacuationResponse], error) {
	res := &managerv1.PlanEvacuationResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		if refused = m.core.mayEvacuate(req.Msg.GetHost()); refused != nil {
			var no *apierr.Error
			if errors.As(refused, &no) && no.Kind == apierr.Policy {
				res.Refused, refused = no.Text, nil
			} else {
				return
			}
		}
		_, ps := m.core.plan(req.Msg.GetHost(), true, now)
		res.Placements = presentPlacements(storePlacements(ps))
		res.Estimate = durationpb.New(decide.Estimate(ps))
	})
	if err := errors.Join(err, refused); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// mayEvacuate says why a host cannot be emptied now, or nil.
func (c *Core) mayEvacuate(name string) error {
	h := c.hosts[name]
	switch {
	case h == nil || !h.Revoked.IsZero():
		return apierr.New(apierr.NotFound, "no host %s", name)
	case !h.alive():
		return apierr.New(apierr.Policy, "%s is unknown (%s): its agent would have to move its guests", name, h.why)
	case c.book.full:
		return apierr.New(apierr.Unavailable, "the manager's disk is full: nothing moves until there is room")
	}
	return nil
}

// EvacuateHost implements the service: a person's decision, which needs neither
// mode nor brakes.
func (m *Manager) EvacuateHost(ctx context.Context, req *connect.Request[managerv1.EvacuateHostRequest]) (*connect.Response[managerv1.EvacuateHostResponse], error) {
	who := actor(ctx)
	res := &managerv1.EvacuateHostResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		var d *standing
		if d, refused = m.core.evacuate(now, req.Msg.GetHost(), who, req.Msg.GetReason()); refused == nil {
			res.Decision, res.Placements = d.ID, presentPlacements(d.Placements)
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (c *Core) evacuate(now time.Time, name, who, reason string) (*standing, error) {
	if err := c.mayEvacuate(name); err != nil {
		return nil, err
	}
	h := c.hosts[name]
	s, ps := c.plan(name, true, now)
	d := decide.Decision{
		Host: name, Kind: decide.KindEvacuate, Status: decide.Acting, State: decide.Evacuating, Risk: h.risk.now.Host, Placements: ps,
		Cause: decide.Cause(h.risk.now.Host, h.risk.hold.Level), Summary: "asked by " + who,
	}
	if reason != "" {
		d.Summary += ": " + reason
	}
	if view, ok := s.HostNamed(name); ok && view.Open != nil {
		d.Supersedes = view.Open.ID
	}
	n, err := c.record(s, d, nil, who, reason, now)
	if err != nil {
		return nil, err
	}
	c.pursue(now)
	c.drained(now)
	return n, nil
}

// ReturnHost implements the service.
func (m *Manager) ReturnHost(ctx context.Context, req *connect.Request[managerv1.ReturnHostRequest]) (*connect.Response[managerv1.ReturnHostResponse], error) {
	who := actor(ctx)
	res := &managerv1.ReturnHostResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		if refused = m.core.giveBack(now, req.Msg.GetHost(), who, req.Msg.GetReason()); refused == nil {
			res.Host = m.core.presentHost(m.core.hosts[req.Msg.GetHost()], m.core.claimedKiB(""))
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// giveBack takes a host back into service: what was planned is not begun, what
// runs is aborted if it still can be. While its risk stands the host stays
// quarantined, and is not evacuated again for the same cause: a person has
// spoken.
func (c *Core) giveBack(now time.Time, name, who, reason string) error {
	h := c.hosts[name]
	switch {
	case h == nil || !h.Revoked.IsZero():
		return apierr.New(apierr.NotFound, "no host %s", name)
	case h.State != store.Evacuating && h.State != store.Drained && h.State != store.Maintenance:
		return apierr.New(apierr.Policy, "%s is %s: there is nothing to return from", name, h.State)
	}
	state := map[decide.Level]decide.State{
		decide.Fine: decide.Healthy, decide.LevelWatch: decide.Watch, decide.LevelQuarantine: decide.Quarantined, decide.LevelEvacuate: decide.Quarantined,
	}[h.risk.hold.Level]
	s := c.snapshot(now, view{byHand: true})
	d := decide.Decision{
		Host: name, Kind: decide.KindEvacuate, Status: decide.Rejected, State: state, Risk: h.risk.now.Host,
		Cause: decide.Cause(h.risk.now.Host, h.risk.hold.Level), Summary: "returned by " + who,
	}
	if reason != "" {
		d.Summary += ": " + reason
	}
	if h.risk.hold.Level < decide.LevelEvacuate {
		d.Kind = decide.KindHealthy
		d.Status = decide.DoneStatus
	}
	if view, ok := s.HostNamed(name); ok && view.Open != nil {
		d.Supersedes = view.Open.ID
	}
	if _, err := c.record(s, d, nil, who, reason, now); err != nil {
		return err
	}
	delete(c.book.stays, name)
	for _, m := range c.sortedMoves() {
		if m.row.Source == name {
			c.giveUp(m, "the host was returned by "+who, now)
			m.step(now, abortAsked, who)
			c.conduct(m, now)
		}
	}
	return nil
}

// abortAsked is the step by which a row remembers that a person ended it.
const abortAsked = "abort asked"

func abortedByHand(r migration.Row) bool {
	for _, s := range r.Steps {
		if s.Name == abortAsked {
			return true
		}
	}
	return false
}

// AbortMigration implements the service. What is true decides how it ends; it
// may still be done.
func (m *Manager) AbortMigration(ctx context.Context, req *connect.Request[managerv1.AbortMigrationRequest]) (*connect.Response[managerv1.AbortMigrationResponse], error) {
	who, id := actor(ctx), req.Msg.GetId()
	res := &managerv1.AbortMigrationResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		var row migration.Row
		if row, refused = m.core.abort(now, id, who, req.Msg.GetReason()); refused == nil {
			res.Migration = m.core.presentRow(row)
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (c *Core) abort(now time.Time, id, who, reason string) (migration.Row, error) {
	m := c.moves[id]
	if m == nil {
		return migration.Row{}, apierr.New(apierr.NotFound, "no open migration %s", id)
	}
	if m.row.State == migration.Committing {
		return migration.Row{}, apierr.New(apierr.Claim, "%s holds the claim already (the guest has arrived): nothing to abort", m.row.Target)
	}
	text := "aborted by " + who
	if reason != "" {
		text += ": " + reason
	}
	c.giveUp(m, text, now)
	m.step(now, abortAsked, text)
	err := c.update("aborting "+id, func(tx store.Tx) error {
		if err := tx.PutMigration(m.row); err != nil {
			return err
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "migration.abort", Severity: store.Warning, Host: m.row.Source, Domain: m.row.Domain, Migration: id, Who: who, Text: reason})
		return err
	})
	if err != nil {
		return migration.Row{}, err
	}
	c.announce()
	c.conduct(m, now)
	return m.row, nil
}

// ResolveDecision implements the service.
func (m *Manager) ResolveDecision(ctx context.Context, req *connect.Request[managerv1.ResolveDecisionRequest]) (*connect.Response[managerv1.ResolveDecisionResponse], error) {
	who := actor(ctx)
	res := &managerv1.ResolveDecisionResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		var d store.Decision
		if d, refused = m.core.resolve(now, req.Msg.GetId(), req.Msg.GetApprove(), who, req.Msg.GetReason()); refused == nil {
			res.Decision = presentDecision(d)
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (c *Core) resolve(now time.Time, id string, approve bool, who, reason string) (store.Decision, error) {
	d := c.decisions[id]
	if d == nil || !d.standing() {
		return store.Decision{}, apierr.New(apierr.NotFound, "no decision %s is waiting", id)
	}
	if d.Status != store.Waiting && d.Status != store.HeldBack {
		return store.Decision{}, apierr.New(apierr.Policy, "decision %s is %s, not waiting", id, d.Status)
	}
	next := d.Decision
	next.ResolvedBy, next.Resolution, next.ResolvedAt = who, reason, now
	if !approve {
		next.Status = store.Rejected
		if !c.putDecision(d, next, store.Event{Kind: "decision.rejected", Host: d.Host, Decision: id, Who: who, Text: reason}, now) {
			return store.Decision{}, fmt.Errorf("decision %s: %w", id, store.ErrFull)
		}
		c.announce()
		return d.Decision, nil
	}
	if err := c.mayEvacuate(d.Host); err != nil {
		return store.Decision{}, err
	}
	// Placed anew: what was seen then may not be true any more.
	s := c.snapshot(now, view{byHand: true})
	var ps []decide.Placement
	if d.domains == nil {
		ps = decide.PlaceHost(s, c.pol.Decide, d.Host, now)
	} else {
		ps = decide.Place(s, c.pol.Decide, d.domains, now)
	}
	next.Status, next.Placements = store.Acting, storePlacements(ps)
	rows := c.rowsFor(d, ps, now)
	h := c.hosts[d.Host]
	host := h.Host
	if d.Kind == store.DecideEvacuate {
		host.State, host.StateReason, host.StateSince, host.StateDecision = store.Evacuating, d.Summary, now, d.ID
	}
	err := c.update("approving "+id, func(tx store.Tx) error {
		if err := tx.PutDecision(next); err != nil {
			return err
		}
		if err := tx.PutHost(host); err != nil {
			return err
		}
		for _, r := range rows {
			if err := tx.PutMigration(r); err != nil {
				return err
			}
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "decision.approved", Severity: store.Warning, Host: d.Host, Decision: id, Who: who, Text: reason})
		return err
	})
	if err != nil {
		return store.Decision{}, err
	}
	d.Decision, h.Host = next, host
	for _, r := range rows {
		c.addMove(r)
	}
	c.announce()
	c.reconcileTakes(h, now)
	c.fill(now)
	c.pursue(now)
	return d.Decision, nil
}

// SetAutomation implements the service: the one switch.
func (m *Manager) SetAutomation(ctx context.Context, req *connect.Request[managerv1.SetAutomationRequest]) (*connect.Response[managerv1.SetAutomationResponse], error) {
	who, on, reason := actor(ctx), req.Msg.GetOn(), req.Msg.GetReason()
	if !on && reason == "" {
		return nil, apierr.New(apierr.Input, "switching automation off needs a reason: whoever comes next will ask")
	}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		value := map[bool]string{true: "on", false: "off"}[on]
		refused = m.core.update("switching automation", func(tx store.Tx) error {
			if err := tx.PutSetting(store.Setting{Key: store.SettingAutomation, Value: value, Reason: reason, Who: who, At: now}); err != nil {
				return err
			}
			_, err := tx.AppendEvent(store.Event{At: now, Kind: "automation." + value, Severity: store.Warning, Who: who, Text: reason})
			return err
		})
		if refused == nil {
			m.core.settings.automation, m.core.settings.automationReason = on, reason
			m.core.announce()
			m.core.decide(now)
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&managerv1.SetAutomationResponse{On: on}), nil
}

// ImportReadings implements the service.
func (m *Manager) ImportReadings(ctx context.Context, req *connect.Request[managerv1.ImportReadingsRequest]) (*connect.Response[managerv1.ImportReadingsResponse], error) {
	host := req.Msg.GetHost()
	batch := make([]signal.Reading, 0, len(req.Msg.GetReadings()))
	for i, r := range req.Msg.GetReadings() {
		if r.GetObservedAt() == nil {
			return nil, apierr.New(apierr.Input, "reading %d has no time", i)
		}
		status := signal.Status(r.GetStatus())
		if status == "" {
			status = signal.OK
		}
		batch = append(batch, signal.Reading{
			Host: host, Component: r.GetComponent(), Signal: r.GetSignal(), Value: r.Value, Text: r.GetText(), Unit: r.GetUnit(),
			ObservedAt: r.GetObservedAt().AsTime(), Seq: uint64(i + 1), Status: status,
		})
	}
	type outcome struct {
		kept int
		err  error
	}
	done := make(chan outcome, 1)
	var refused error
	if err := m.do(ctx, func(time.Time) {
		refused = m.core.imported(host, batch, func(kept int, err error) { done <- outcome{kept, err} })
	}); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, storeError(refused)
	}
	select {
	case o := <-done:
		if o.err != nil {
			return nil, storeError(o.err)
		}
		return connect.NewResponse(&managerv1.ImportReadingsResponse{Kept: uint64(o.kept)}), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.ended:
		return nil, errEnded
	}
}
