package manager

import (
	"context"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/store"
)

const (
	explainDecisions  = 10
	explainMigrations = 20
	explainEvents     = 50
)

// Explain tells the stored story: every word of it was written when it happened.
func (m *Manager) Explain(ctx context.Context, req *connect.Request[managerv1.ExplainRequest]) (*connect.Response[managerv1.ExplainResponse], error) {
	res := &managerv1.ExplainResponse{}
	var err error
	switch s := req.Msg.GetSubject().(type) {
	case *managerv1.ExplainRequest_Host:
		err = m.explainHost(ctx, res, s.Host)
	case *managerv1.ExplainRequest_Domain:
		err = m.explainDomain(ctx, res, s.Domain)
	case *managerv1.ExplainRequest_Migration:
		err = m.explainMigration(ctx, res, s.Migration)
	default:
		err = apierr.New(apierr.Input, "explain what? a host, a domain or a migration")
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (m *Manager) explainHost(ctx context.Context, res *managerv1.ExplainResponse, name string) error {
	if err := m.do(ctx, func(time.Time) {
		if res.Host, _ = m.core.hostAndDomains(name); res.Host != nil {
			res.Components = res.Host.Components
		}
	}); err != nil {
		return err
	}
	if res.Host == nil {
		return apierr.New(apierr.NotFound, "no host %s", name)
	}
	var err error
	if res.Decisions, err = m.decisions(ctx, store.DecisionFilter{Host: name, Limit: explainDecisions}); err != nil {
		return err
	}
	if res.Migrations, err = m.migrations(ctx, store.MigrationFilter{Host: name, Limit: explainMigrations}); err != nil {
		return err
	}
	res.Events, err = m.events(ctx, store.EventFilter{Host: name, Last: explainEvents})
	return err
}

func (m *Manager) explainDomain(ctx context.Context, res *managerv1.ExplainResponse, name string) error {
	uuid, err := m.domainID(ctx, name)
	if err != nil {
		return err
	}
	if err := m.do(ctx, func(now time.Time) {
		c := m.core
		rows := c.presentDomains(func(_, id, _ string) bool { return id == uuid })
		for _, r := range rows { // where its claim is, else where it is seen
			if res.Domain == nil || r.Host == r.GetClaim().GetHolder() {
				res.Domain = r
			}
		}
		if res.Domain != nil {
			c.withProtection(res.Domain)
		}
		s := c.snapshot(now, view{byHand: true, only: []string{uuid}})
		if ps := storePlacements(decide.Place(s, c.pol.Decide, []string{uuid}, now)); len(ps) == 1 {
			res.Placement = presentPlacements(ps)[0]
		}
		if res.Domain != nil {
			if h := c.hosts[res.Domain.Host]; h != nil {
				res.Host = c.presentHost(h, c.claimedKiB(""))
			}
		}
	}); err != nil {
		return err
	}
	if res.Migrations, err = m.migrations(ctx, store.MigrationFilter{Domain: uuid, Limit: explainMigrations}); err != nil {
		return err
	}
	if err := m.decisionsOf(ctx, res); err != nil {
		return err
	}
	res.Events, err = m.events(ctx, store.EventFilter{Domain: uuid, Last: explainEvents})
	return err
}

func (m *Manager) explainMigration(ctx context.Context, res *managerv1.ExplainResponse, id string) error {
	row, err := m.migration(ctx, id)
	if err != nil {
		return err
	}
	res.Migrations = []*managerv1.Migration{row}
	if err := m.decisionsOf(ctx, res); err != nil {
		return err
	}
	res.Events, err = m.events(ctx, store.EventFilter{Migration: id, Last: explainEvents})
	return err
}

// decisionsOf adds the decisions that wanted the migrations of a story.
func (m *Manager) decisionsOf(ctx context.Context, res *managerv1.ExplainResponse) error {
	ids := map[string]bool{}
	for _, r := range res.Migrations {
		if r.Decision != "" {
			ids[r.Decision] = true
		}
	}
	err := m.store.View(ctx, func(r store.Reader) error {
		res.Decisions = nil
		for _, id := range sortedKeys(ids) {
			d, err := r.Decision(id)
			if err != nil {
				return err
			}
			res.Decisions = append(res.Decisions, presentDecision(d))
		}
		return nil
	})
	slices.SortStableFunc(res.Decisions, func(a, b *managerv1.Decision) int { return b.At.AsTime().Compare(a.At.AsTime()) })
	return storeError(err)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
