package manager

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// facts are what is known of the manager itself, and what others may read
// without going through the loop.
type facts struct {
	version string
	started time.Time

	mu      sync.RWMutex
	revoked revocations
}

// actor is who asks.
func actor(ctx context.Context) string {
	if a, ok := serve.ActorFrom(ctx); ok {
		return a.Name
	}
	return "unknown"
}

// storeError gives errors of the store the kind that callers see.
func storeError(err error) error {
	var known *apierr.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNotFound):
		return apierr.New(apierr.NotFound, "%w", err)
	case errors.Is(err, store.ErrInvalid):
		return apierr.New(apierr.Input, "%w", err)
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrFenced):
		return apierr.New(apierr.Unavailable, "%w", err)
	}
	return apierr.New(apierr.Failed, "%w", err)
}

const defaultLimit = 100

// ListHosts implements the service.
func (m *Manager) ListHosts(ctx context.Context, _ *connect.Request[managerv1.ListHostsRequest]) (*connect.Response[managerv1.ListHostsResponse], error) {
	res := &managerv1.ListHostsResponse{}
	err := m.do(ctx, func(time.Time) {
		res.EnforceWaitsFor = m.core.enforceWaitsFor()
		claimed := m.core.claimedKiB("")
		for _, h := range m.core.sortedHosts() {
			if h.Revoked.IsZero() {
				res.Hosts = append(res.Hosts, m.core.presentHost(h, claimed))
			}
		}
	})
	return connect.NewResponse(res), err
}

// GetHost implements the service.
func (m *Manager) GetHost(ctx context.Context, req *connect.Request[managerv1.GetHostRequest]) (*connect.Response[managerv1.GetHostResponse], error) {
	name := req.Msg.GetName()
	res := &managerv1.GetHostResponse{}
	if err := m.do(ctx, func(time.Time) { res.Host, res.Domains = m.core.hostAndDomains(name) }); err != nil {
		return nil, err
	}
	if res.Host == nil {
		return nil, apierr.New(apierr.NotFound, "no host %s", name)
	}
	var err error
	res.Events, err = m.events(ctx, store.EventFilter{Host: name, Last: 20})
	return connect.NewResponse(res), err
}

// onlyHost refuses a filter by a host that nobody knows: an empty list would
// look like an answer. "" filters nothing.
func (m *Manager) onlyHost(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	known := false
	if err := m.do(ctx, func(time.Time) { known = m.core.hosts[name] != nil }); err != nil {
		return err
	}
	if !known {
		return apierr.New(apierr.NotFound, "no host %s", name)
	}
	return nil
}

func (c *Core) hostAndDomains(name string) (*managerv1.Host, []*managerv1.DomainRow) {
	h := c.hosts[name]
	if h == nil {
		return nil, nil
	}
	return c.presentHost(h, c.claimedKiB("")), c.presentDomains(func(host, _, _ string) bool { return host == name })
}

func (m *Manager) events(ctx context.Context, f store.EventFilter) ([]*managerv1.Event, error) {
	var out []*managerv1.Event
	err := m.store.View(ctx, func(r store.Reader) error {
		out = nil
		es, err := r.Events(f)
		for _, e := range es {
			out = append(out, presentEvent(e))
		}
		return err
	})
	return out, storeError(err)
}

// ListDomains implements the service.
func (m *Manager) ListDomains(ctx context.Context, req *connect.Request[managerv1.ListDomainsRequest]) (*connect.Response[managerv1.ListDomainsResponse], error) {
	if err := m.onlyHost(ctx, req.Msg.GetHost()); err != nil {
		return nil, err
	}
	res := &managerv1.ListDomainsResponse{}
	err := m.do(ctx, func(time.Time) {
		res.Domains = m.core.presentDomains(func(host, _, _ string) bool { return req.Msg.GetHost() == "" || host == req.Msg.GetHost() })
	})
	return connect.NewResponse(res), err
}

// ListClaims implements the service.
func (m *Manager) ListClaims(ctx context.Context, req *connect.Request[managerv1.ListClaimsRequest]) (*connect.Response[managerv1.ListClaimsResponse], error) {
	if err := m.onlyHost(ctx, req.Msg.GetHost()); err != nil {
		return nil, err
	}
	res := &managerv1.ListClaimsResponse{}
	err := m.do(ctx, func(time.Time) {
		for _, cl := range m.core.claims {
			if h := req.Msg.GetHost(); h == "" || cl.Holder == h || cl.Target == h {
				res.Claims = append(res.Claims, m.core.presentClaim(cl))
			}
		}
	})
	slices.SortFunc(res.Claims, func(a, b *managerv1.Claim) int {
		return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.DomainName, b.DomainName), cmp.Compare(a.Domain, b.Domain))
	})
	return connect.NewResponse(res), err
}

// ListRisk implements the service: components, the riskiest first.
func (m *Manager) ListRisk(ctx context.Context, req *connect.Request[managerv1.ListRiskRequest]) (*connect.Response[managerv1.ListRiskResponse], error) {
	if err := m.onlyHost(ctx, req.Msg.GetHost()); err != nil {
		return nil, err
	}
	res := &managerv1.ListRiskResponse{}
	err := m.do(ctx, func(time.Time) {
		for _, h := range m.core.sortedHosts() {
			if req.Msg.GetHost() == "" || h.Name == req.Msg.GetHost() {
				res.Components = append(res.Components, presentComponents(h.risk.now.Components)...)
			}
		}
	})
	slices.SortStableFunc(res.Components, func(a, b *managerv1.ComponentRisk) int {
		if a.Score.Hard != b.Score.Hard {
			return map[bool]int{true: -1, false: 1}[a.Score.Hard]
		}
		return cmp.Compare(b.Score.P30D, a.Score.P30D)
	})
	return connect.NewResponse(res), err
}

// ListMigrations implements the service: newest first.
func (m *Manager) ListMigrations(ctx context.Context, req *connect.Request[managerv1.ListMigrationsRequest]) (*connect.Response[managerv1.ListMigrationsResponse], error) {
	q := req.Msg
	if err := m.onlyHost(ctx, q.GetHost()); err != nil {
		return nil, err
	}
	f := store.MigrationFilter{Open: q.GetOpenOnly(), Host: q.GetHost(), Limit: int(cmp.Or(q.GetLimit(), defaultLimit))}
	var err error
	if f.Domain, err = m.domainID(ctx, q.GetDomain()); err != nil {
		return nil, err
	}
	rows, err := m.migrations(ctx, f)
	return connect.NewResponse(&managerv1.ListMigrationsResponse{Migrations: rows}), err
}

// migrations reads rows from the store, and shows open ones as they are now.
func (m *Manager) migrations(ctx context.Context, f store.MigrationFilter) ([]*managerv1.Migration, error) {
	var rows []migration.Row
	err := m.store.View(ctx, func(r store.Reader) error {
		var err error
		rows, err = r.Migrations(f)
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	out := make([]*managerv1.Migration, 0, len(rows))
	err = m.do(ctx, func(time.Time) {
		for _, r := range rows {
			if open := m.core.moves[r.ID]; open != nil {
				r = open.row
			}
			out = append(out, m.core.presentRow(r))
		}
	})
	return out, err
}

// GetMigration implements the service.
func (m *Manager) GetMigration(ctx context.Context, req *connect.Request[managerv1.GetMigrationRequest]) (*connect.Response[managerv1.GetMigrationResponse], error) {
	row, err := m.migration(ctx, req.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&managerv1.GetMigrationResponse{Migration: row}), nil
}

func (m *Manager) migration(ctx context.Context, id string) (*managerv1.Migration, error) {
	var row migration.Row
	err := m.store.View(ctx, func(r store.Reader) error {
		var err error
		row, err = r.Migration(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.New(apierr.NotFound, "no migration %s", id)
	}
	if err != nil {
		return nil, storeError(err)
	}
	var out *managerv1.Migration
	err = m.do(ctx, func(time.Time) {
		if open := m.core.moves[id]; open != nil {
			row = open.row
		}
		out = m.core.presentRow(row)
	})
	return out, err
}

// ListDecisions implements the service: newest first.
func (m *Manager) ListDecisions(ctx context.Context, req *connect.Request[managerv1.ListDecisionsRequest]) (*connect.Response[managerv1.ListDecisionsResponse], error) {
	if err := m.onlyHost(ctx, req.Msg.GetHost()); err != nil {
		return nil, err
	}
	limit := int(cmp.Or(req.Msg.GetLimit(), defaultLimit))
	f := store.DecisionFilter{Host: req.Msg.GetHost(), Limit: limit}
	if req.Msg.GetWaitingOnly() {
		f.Limit = 0
	}
	ds, err := m.decisions(ctx, f)
	if req.Msg.GetWaitingOnly() {
		ds = slices.DeleteFunc(ds, func(d *managerv1.Decision) bool {
			return d.Status != string(store.Waiting) && d.Status != string(store.HeldBack)
		})
		ds = ds[:min(len(ds), limit)]
	}
	return connect.NewResponse(&managerv1.ListDecisionsResponse{Decisions: ds}), err
}

func (m *Manager) decisions(ctx context.Context, f store.DecisionFilter) ([]*managerv1.Decision, error) {
	var out []*managerv1.Decision
	err := m.store.View(ctx, func(r store.Reader) error {
		out = nil
		ds, err := r.Decisions(f)
		for _, d := range ds {
			out = append(out, presentDecision(d))
		}
		return err
	})
	return out, storeError(err)
}

// WatchEvents implements the service.
func (m *Manager) WatchEvents(ctx context.Context, req *connect.Request[managerv1.WatchEventsRequest], stream *connect.ServerStream[managerv1.Event]) error {
	if err := stream.Send(nil); err != nil { // the headers: a caller of a quiet manager knows that it is heard
		return err
	}
	q := req.Msg
	f := store.EventFilter{After: q.GetAfter(), Host: q.GetHost(), Last: int(q.GetLast())}
	for {
		// Asked for before reading: what comes in between wakes us again.
		var told chan struct{}
		if err := m.do(ctx, func(time.Time) { told = m.core.book.told }); err != nil {
			return err
		}
		es, err := m.events(ctx, f)
		if err != nil {
			return err
		}
		for _, e := range es {
			if err := stream.Send(e); err != nil {
				return err
			}
			f.After = e.GetId()
		}
		if !q.GetFollow() {
			if len(es) == 0 {
				return m.onlyHost(ctx, q.GetHost()) // one that never enrolled may have events, of its token
			}
			return nil
		}
		if len(es) > 0 || f.After > 0 {
			f.Last = 0
		}
		select {
		case <-told:
		case <-ctx.Done():
			return nil
		case <-m.ended:
			return errEnded
		}
	}
}

// GetStatus implements the service.
func (m *Manager) GetStatus(ctx context.Context, _ *connect.Request[managerv1.GetStatusRequest]) (*connect.Response[managerv1.GetStatusResponse], error) {
	res := &managerv1.GetStatusResponse{Version: m.facts.version, Started: at(m.facts.started)}
	err := m.do(ctx, func(now time.Time) {
		c := m.core
		res.Certificates = c.presentCertificates(now)
		res.Generation, res.Term, res.Mode, res.Model = c.id.Generation, c.id.Term, string(c.pol.Decide.Mode), c.score.Name()
		res.Automation, res.AutomationReason = c.settings.automation, c.settings.automationReason
		for _, h := range c.hosts {
			if h.Revoked.IsZero() {
				res.Hosts++
			}
			if h.session != nil {
				res.HostsConnected++
			}
		}
		res.Recovery = c.unheard()
		res.Domains, res.MigrationsOpen = uint32(len(c.claims)), uint32(len(c.moves))
		for _, d := range c.decisions {
			if d.Status == store.Waiting || d.Status == store.HeldBack {
				res.DecisionsWaiting++
			}
		}
	})
	return connect.NewResponse(res), err
}

// domainID finds a domain's UUID by UUID or name; "" stays "".
func (m *Manager) domainID(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	var found []string
	err := m.do(ctx, func(time.Time) { found = m.core.domainsCalled(name) })
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", apierr.New(apierr.NotFound, "no domain %s", name)
	case len(found) > 1:
		return "", apierr.New(apierr.Input, "several domains are called %s: use one of the UUIDs %s", name, strings.Join(found, ", "))
	}
	return found[0], nil
}

func (c *Core) domainsCalled(name string) []string {
	found := map[string]bool{}
	for _, h := range c.hosts {
		for uuid, d := range h.last {
			if uuid == name || d.Name == name {
				found[uuid] = true
			}
		}
	}
	for uuid, cl := range c.claims {
		if uuid == name || cl.Name == name {
			found[uuid] = true
		}
	}
	return sortedKeys(found)
}
