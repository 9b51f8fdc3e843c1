package manager

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// onClaim finds the domain and runs one verb on its claim in the loop.
func (m *Manager) onClaim(ctx context.Context, domain, reason string, force bool, do func(now time.Time, v verb) error) error {
	if domain == "" {
		return apierr.New(apierr.Input, "no domain: a UUID or a name")
	}
	uuid, err := m.domainID(ctx, domain)
	if err != nil {
		return err
	}
	v := verb{domain: uuid, who: actor(ctx), reason: reason, force: force}
	var refused error
	err = m.do(ctx, func(now time.Time) { refused = do(now, v) })
	return errors.Join(err, storeError(refused))
}

// shownClaim is a claim as it stands in the core, nil when there is none.
func (c *Core) shownClaim(domain string) *managerv1.Claim {
	if cl := c.claims[domain]; cl != nil {
		return c.presentClaim(cl)
	}
	return nil
}

// GrantClaim implements the service.
func (m *Manager) GrantClaim(ctx context.Context, req *connect.Request[managerv1.GrantClaimRequest]) (*connect.Response[managerv1.GrantClaimResponse], error) {
	q, res := req.Msg, &managerv1.GrantClaimResponse{}
	err := m.onClaim(ctx, q.GetDomain(), q.GetReason(), q.GetForce(), func(now time.Time, v verb) error {
		_, err := m.core.grant(now, v, q.GetHost())
		res.Claim = m.core.shownClaim(v.domain)
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// ReleaseClaim implements the service.
func (m *Manager) ReleaseClaim(ctx context.Context, req *connect.Request[managerv1.ReleaseClaimRequest]) (*connect.Response[managerv1.ReleaseClaimResponse], error) {
	q, res := req.Msg, &managerv1.ReleaseClaimResponse{}
	err := m.onClaim(ctx, q.GetDomain(), q.GetReason(), q.GetForce(), func(now time.Time, v verb) error {
		_, gone, err := m.core.releaseByHand(now, v)
		if !gone {
			res.Claim = m.core.shownClaim(v.domain)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// MoveClaim implements the service.
func (m *Manager) MoveClaim(ctx context.Context, req *connect.Request[managerv1.MoveClaimRequest]) (*connect.Response[managerv1.MoveClaimResponse], error) {
	q, res := req.Msg, &managerv1.MoveClaimResponse{}
	err := m.onClaim(ctx, q.GetDomain(), q.GetReason(), q.GetForce(), func(now time.Time, v verb) error {
		row, err := m.core.moveByHand(now, v, q.GetTarget())
		if err == nil {
			res.Migration = m.core.presentRow(row)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// ResolveClaim implements the service.
func (m *Manager) ResolveClaim(ctx context.Context, req *connect.Request[managerv1.ResolveClaimRequest]) (*connect.Response[managerv1.ResolveClaimResponse], error) {
	q, res := req.Msg, &managerv1.ResolveClaimResponse{}
	err := m.onClaim(ctx, q.GetDomain(), q.GetReason(), q.GetForce(), func(now time.Time, v verb) error {
		var err error
		var row migration.Row
		switch choice := q.GetChoice().(type) {
		case *managerv1.ResolveClaimRequest_Holder:
			err = m.core.resolveHolder(now, v, choice.Holder)
		case *managerv1.ResolveClaimRequest_Released:
			err = m.core.resolveHolder(now, v, "")
		case *managerv1.ResolveClaimRequest_Resume:
			row, err = m.core.resolveCopy(now, v, migration.ChoseResume)
		case *managerv1.ResolveClaimRequest_Discard:
			row, err = m.core.resolveCopy(now, v, migration.ChoseDiscard)
		default:
			err = apierr.New(apierr.Input, "resolve how? holder, released, resume or discard")
		}
		if err == nil && row.ID != "" {
			res.Migration = m.core.presentRow(row)
		}
		res.Claim = m.core.shownClaim(v.domain)
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// DeclareHostDead implements the service.
func (m *Manager) DeclareHostDead(ctx context.Context, req *connect.Request[managerv1.DeclareHostDeadRequest]) (*connect.Response[managerv1.DeclareHostDeadResponse], error) {
	who, name, res := actor(ctx), req.Msg.GetHost(), &managerv1.DeclareHostDeadResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		var released []store.Claim
		if released, refused = m.core.declareDead(now, name, who, req.Msg.GetReason()); refused != nil {
			return
		}
		for _, cl := range released {
			res.Released = append(res.Released, m.core.presentClaim(&claim{Claim: cl}))
		}
		res.Host = m.core.presentHost(m.core.hosts[name], m.core.claimedKiB(""))
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// ExcuseHost implements the service.
func (m *Manager) ExcuseHost(ctx context.Context, req *connect.Request[managerv1.ExcuseHostRequest]) (*connect.Response[managerv1.ExcuseHostResponse], error) {
	who, res := actor(ctx), &managerv1.ExcuseHostResponse{}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		refused = m.core.excuse(now, req.Msg.GetHost(), who, req.Msg.GetReason())
		res.Waiting = m.core.unheard()
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}
