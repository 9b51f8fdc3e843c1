package main

import (
	"context"

	"connectrpc.com/connect"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

func (f *fakeManager) GrantClaim(_ context.Context, r *connect.Request[managerv1.GrantClaimRequest]) (*connect.Response[managerv1.GrantClaimResponse], error) {
	return answer(f, r.Msg, func() *managerv1.GrantClaimResponse {
		return &managerv1.GrantClaimResponse{Claim: &managerv1.Claim{Domain: "u", DomainName: r.Msg.Domain, Holder: r.Msg.Host, Epoch: 77, Phase: "held"}}
	})
}

func (f *fakeManager) ReleaseClaim(_ context.Context, r *connect.Request[managerv1.ReleaseClaimRequest]) (*connect.Response[managerv1.ReleaseClaimResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ReleaseClaimResponse {
		if r.Msg.Force {
			return &managerv1.ReleaseClaimResponse{}
		}
		return &managerv1.ReleaseClaimResponse{Claim: &managerv1.Claim{Domain: "u", DomainName: r.Msg.Domain, Holder: "h1", Epoch: 78, Phase: "held"}}
	})
}

func (f *fakeManager) MoveClaim(_ context.Context, r *connect.Request[managerv1.MoveClaimRequest]) (*connect.Response[managerv1.MoveClaimResponse], error) {
	return answer(f, r.Msg, func() *managerv1.MoveClaimResponse {
		return &managerv1.MoveClaimResponse{Migration: &managerv1.Migration{Id: "m7", DomainName: r.Msg.Domain, Source: "h1", Target: or(r.Msg.Target, "h3"), State: "planned"}}
	})
}

func (f *fakeManager) ResolveClaim(_ context.Context, r *connect.Request[managerv1.ResolveClaimRequest]) (*connect.Response[managerv1.ResolveClaimResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ResolveClaimResponse {
		switch r.Msg.Choice.(type) {
		case *managerv1.ResolveClaimRequest_Resume, *managerv1.ResolveClaimRequest_Discard:
			return &managerv1.ResolveClaimResponse{Migration: &managerv1.Migration{Id: "m7", DomainName: r.Msg.Domain, Source: "h1", Target: "h2", State: "committing", Waiting: "the target may run it"}}
		case *managerv1.ResolveClaimRequest_Released:
			return &managerv1.ResolveClaimResponse{}
		}
		return &managerv1.ResolveClaimResponse{Claim: &managerv1.Claim{DomainName: r.Msg.Domain, Holder: r.Msg.GetHolder(), Epoch: 79, Phase: "held"}}
	})
}

func (f *fakeManager) DeclareHostDead(_ context.Context, r *connect.Request[managerv1.DeclareHostDeadRequest]) (*connect.Response[managerv1.DeclareHostDeadResponse], error) {
	return answer(f, r.Msg, func() *managerv1.DeclareHostDeadResponse {
		return &managerv1.DeclareHostDeadResponse{Released: []*managerv1.Claim{{Domain: "11111111-0000-4000-8000-000000000001", DomainName: "g1"}}}
	})
}

func (f *fakeManager) ExcuseHost(_ context.Context, r *connect.Request[managerv1.ExcuseHostRequest]) (*connect.Response[managerv1.ExcuseHostResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ExcuseHostResponse {
		return &managerv1.ExcuseHostResponse{Waiting: []string{"h2"}}
	})
}

func (f *fakeManager) SetHost(_ context.Context, r *connect.Request[managerv1.SetHostRequest]) (*connect.Response[managerv1.SetHostResponse], error) {
	return answer(f, r.Msg, func() *managerv1.SetHostResponse {
		state := "healthy"
		if r.Msg.GetMaintenance() {
			state = "maintenance"
		}
		return &managerv1.SetHostResponse{Host: &managerv1.Host{Name: r.Msg.Host, State: state, PreferredTarget: r.Msg.GetPreferredTarget()}}
	})
}

func (f *fakeManager) ListLeftovers(_ context.Context, r *connect.Request[managerv1.ListLeftoversRequest]) (*connect.Response[managerv1.ListLeftoversResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ListLeftoversResponse {
		return &managerv1.ListLeftoversResponse{Leftovers: []*managerv1.Leftover{
			{Host: "h1", Kind: "definition", Domain: "u1", DomainName: "g3", What: "the guest runs on h2; this definition is left over", Remove: "virsh undefine u1"},
			{Host: "h2", Kind: "managed_save", Domain: "u2", DomainName: "g4", What: "saved memory", Remove: "virsh managedsave-remove u2"},
			{Host: "h3", Kind: "debt", Domain: "u1", DomainName: "g3", What: "it has not yet confirmed that attempt m3 is void"}}}
	})
}

func (f *fakeManager) RevokeOperator(_ context.Context, r *connect.Request[managerv1.RevokeOperatorRequest]) (*connect.Response[managerv1.RevokeOperatorResponse], error) {
	return answer(f, r.Msg, func() *managerv1.RevokeOperatorResponse {
		return &managerv1.RevokeOperatorResponse{}
	})
}
