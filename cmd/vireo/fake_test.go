package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

// noon is the tests' present.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-d)) }

func ms(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }

// fakeManager answers with what it holds, over real HTTP. A test changes it in
// tick, which runs before each list of migrations: that is a follower's pulse.
type fakeManager struct {
	managerv1connect.UnimplementedManagerServiceHandler

	mu              sync.Mutex
	hosts           []*managerv1.Host
	enforceWaitsFor string
	domains         []*managerv1.DomainRow
	components      []*managerv1.ComponentRisk
	migrations      []*managerv1.Migration
	decisions       []*managerv1.Decision
	events          []*managerv1.Event
	plan            *managerv1.PlanEvacuationResponse
	outputs         []*managerv1.VirshOutput
	refuse          error // every call
	tick            func(n int) error
	ticks           int
	asked           []proto.Message // the verbs' requests
}

// answer is what every call goes through.
func answer[T any](f *fakeManager, req proto.Message, make func() *T) (*connect.Response[T], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, apierr.ToConnect(f.refuse)
	}
	if req != nil {
		f.asked = append(f.asked, req)
	}
	return connect.NewResponse(make()), nil
}

func (f *fakeManager) ListHosts(context.Context, *connect.Request[managerv1.ListHostsRequest]) (*connect.Response[managerv1.ListHostsResponse], error) {
	return answer(f, nil, func() *managerv1.ListHostsResponse {
		return &managerv1.ListHostsResponse{Hosts: f.hosts, EnforceWaitsFor: f.enforceWaitsFor}
	})
}

func (f *fakeManager) host(name string) *managerv1.Host {
	for _, h := range f.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

func (f *fakeManager) domainsOf(host string) (of []*managerv1.DomainRow) {
	for _, d := range f.domains {
		if host == "" || d.Host == host {
			of = append(of, d)
		}
	}
	return of
}

func (f *fakeManager) GetHost(_ context.Context, r *connect.Request[managerv1.GetHostRequest]) (*connect.Response[managerv1.GetHostResponse], error) {
	if f.host(r.Msg.Name) == nil {
		return nil, apierr.ToConnect(apierr.New(apierr.NotFound, "no host %s", r.Msg.Name))
	}
	return answer(f, nil, func() *managerv1.GetHostResponse {
		return &managerv1.GetHostResponse{Host: f.host(r.Msg.Name), Domains: f.domainsOf(r.Msg.Name), Events: f.events}
	})
}

func (f *fakeManager) ListDomains(_ context.Context, r *connect.Request[managerv1.ListDomainsRequest]) (*connect.Response[managerv1.ListDomainsResponse], error) {
	return answer(f, nil, func() *managerv1.ListDomainsResponse {
		return &managerv1.ListDomainsResponse{Domains: f.domainsOf(r.Msg.Host)}
	})
}

func (f *fakeManager) ListClaims(_ context.Context, r *connect.Request[managerv1.ListClaimsRequest]) (*connect.Response[managerv1.ListClaimsResponse], error) {
	return answer(f, nil, func() *managerv1.ListClaimsResponse {
		res := &managerv1.ListClaimsResponse{}
		for _, d := range f.domainsOf(r.Msg.Host) {
			if d.Claim != nil {
				res.Claims = append(res.Claims, d.Claim)
			}
		}
		return res
	})
}

func (f *fakeManager) ListRisk(_ context.Context, r *connect.Request[managerv1.ListRiskRequest]) (*connect.Response[managerv1.ListRiskResponse], error) {
	return answer(f, nil, func() *managerv1.ListRiskResponse {
		res := &managerv1.ListRiskResponse{}
		for _, c := range f.components {
			if r.Msg.Host == "" || c.Host == r.Msg.Host {
				res.Components = append(res.Components, c)
			}
		}
		return res
	})
}

func (f *fakeManager) ListMigrations(_ context.Context, r *connect.Request[managerv1.ListMigrationsRequest]) (*connect.Response[managerv1.ListMigrationsResponse], error) {
	f.mu.Lock()
	var err error
	if f.tick != nil {
		f.ticks++
		err = f.tick(f.ticks)
	}
	f.mu.Unlock()
	if err != nil {
		return nil, apierr.ToConnect(err)
	}
	return answer(f, nil, func() *managerv1.ListMigrationsResponse {
		res := &managerv1.ListMigrationsResponse{}
		for _, m := range f.migrations {
			if (!r.Msg.OpenOnly || m.Outcome == "") && (r.Msg.Host == "" || m.Source == r.Msg.Host || m.Target == r.Msg.Host) {
				res.Migrations = append(res.Migrations, proto.Clone(m).(*managerv1.Migration))
			}
		}
		return res
	})
}

func (f *fakeManager) ListDecisions(_ context.Context, r *connect.Request[managerv1.ListDecisionsRequest]) (*connect.Response[managerv1.ListDecisionsResponse], error) {
	return answer(f, nil, func() *managerv1.ListDecisionsResponse {
		res := &managerv1.ListDecisionsResponse{}
		for _, d := range f.decisions {
			if (r.Msg.Host == "" || d.Host == r.Msg.Host) && (!r.Msg.WaitingOnly || d.Status == "waiting") {
				res.Decisions = append(res.Decisions, proto.Clone(d).(*managerv1.Decision))
			}
		}
		return res
	})
}

func (f *fakeManager) Explain(_ context.Context, r *connect.Request[managerv1.ExplainRequest]) (*connect.Response[managerv1.ExplainResponse], error) {
	return answer(f, nil, func() *managerv1.ExplainResponse {
		switch s := r.Msg.Subject.(type) {
		case *managerv1.ExplainRequest_Host:
			return &managerv1.ExplainResponse{Host: f.host(s.Host), Components: f.components[:1], Decisions: f.decisions,
				Migrations: f.migrations, Events: f.events}
		case *managerv1.ExplainRequest_Domain:
			return &managerv1.ExplainResponse{Domain: f.domains[0], Host: f.host(f.domains[0].Host), Placement: f.plan.Placements[1],
				Decisions: f.decisions[:1], Migrations: f.migrations[:1], Events: f.events}
		}
		return &managerv1.ExplainResponse{Migrations: f.migrations[1:2]}
	})
}

func (f *fakeManager) WatchEvents(_ context.Context, r *connect.Request[managerv1.WatchEventsRequest], s *connect.ServerStream[managerv1.Event]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Msg)
	for _, e := range f.events {
		if err := s.Send(e); err != nil {
			return err
		}
	}
	if f.refuse != nil {
		return apierr.ToConnect(f.refuse)
	}
	return nil
}

func (f *fakeManager) GetStatus(context.Context, *connect.Request[managerv1.GetStatusRequest]) (*connect.Response[managerv1.GetStatusResponse], error) {
	return answer(f, nil, func() *managerv1.GetStatusResponse {
		return &managerv1.GetStatusResponse{Version: "1.0", Generation: 1, Term: 3, Mode: "recommend", AutomationReason: "maintenance window",
			Model: "default", Hosts: 3, HostsConnected: 2, Domains: 2, MigrationsOpen: 1, DecisionsWaiting: 1, Started: before(time.Hour), Certificates: []*managerv1.Certificate{
				{Name: "manager", NotAfter: before(-4 * 365 * 24 * time.Hour)}, {Name: "ca", NotAfter: before(-19 * 365 * 24 * time.Hour)},
				{Name: "host h1", NotAfter: before(-20 * 24 * time.Hour), EndsSoon: true}, {Name: "host h2", NotAfter: before(-4 * 365 * 24 * time.Hour)},
			}}
	})
}

func (f *fakeManager) PlanEvacuation(context.Context, *connect.Request[managerv1.PlanEvacuationRequest]) (*connect.Response[managerv1.PlanEvacuationResponse], error) {
	return answer(f, nil, func() *managerv1.PlanEvacuationResponse { return f.plan })
}

func (f *fakeManager) EvacuateHost(_ context.Context, r *connect.Request[managerv1.EvacuateHostRequest]) (*connect.Response[managerv1.EvacuateHostResponse], error) {
	return answer(f, r.Msg, func() *managerv1.EvacuateHostResponse {
		return &managerv1.EvacuateHostResponse{Decision: "d9", Placements: f.plan.Placements}
	})
}

func (f *fakeManager) ReturnHost(_ context.Context, r *connect.Request[managerv1.ReturnHostRequest]) (*connect.Response[managerv1.ReturnHostResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ReturnHostResponse {
		return &managerv1.ReturnHostResponse{Host: &managerv1.Host{Name: r.Msg.Host, State: "healthy"}}
	})
}

func (f *fakeManager) RemoveHost(_ context.Context, r *connect.Request[managerv1.RemoveHostRequest]) (*connect.Response[managerv1.RemoveHostResponse], error) {
	return answer(f, r.Msg, func() *managerv1.RemoveHostResponse { return &managerv1.RemoveHostResponse{} })
}

func (f *fakeManager) AbortMigration(_ context.Context, r *connect.Request[managerv1.AbortMigrationRequest]) (*connect.Response[managerv1.AbortMigrationResponse], error) {
	return answer(f, r.Msg, func() *managerv1.AbortMigrationResponse {
		return &managerv1.AbortMigrationResponse{Migration: &managerv1.Migration{Id: r.Msg.Id, State: "aborting"}}
	})
}

func (f *fakeManager) ResolveDecision(_ context.Context, r *connect.Request[managerv1.ResolveDecisionRequest]) (*connect.Response[managerv1.ResolveDecisionResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ResolveDecisionResponse {
		status := "rejected"
		if r.Msg.Approve {
			status = "approved"
		}
		return &managerv1.ResolveDecisionResponse{Decision: &managerv1.Decision{Id: r.Msg.Id, Status: status, Summary: "evacuate h1"}}
	})
}

func (f *fakeManager) SetAutomation(_ context.Context, r *connect.Request[managerv1.SetAutomationRequest]) (*connect.Response[managerv1.SetAutomationResponse], error) {
	return answer(f, r.Msg, func() *managerv1.SetAutomationResponse { return &managerv1.SetAutomationResponse{On: r.Msg.On} })
}

func (f *fakeManager) ImportReadings(_ context.Context, r *connect.Request[managerv1.ImportReadingsRequest]) (*connect.Response[managerv1.ImportReadingsResponse], error) {
	return answer(f, r.Msg, func() *managerv1.ImportReadingsResponse {
		return &managerv1.ImportReadingsResponse{Kept: uint64(len(r.Msg.Readings))}
	})
}

func (f *fakeManager) Virsh(_ context.Context, r *connect.Request[managerv1.VirshRequest]) (*connect.Response[managerv1.VirshResponse], error) {
	return answer(f, r.Msg, func() *managerv1.VirshResponse { return &managerv1.VirshResponse{Outputs: f.outputs} })
}

func (f *fakeManager) CreateToken(_ context.Context, r *connect.Request[managerv1.CreateTokenRequest]) (*connect.Response[managerv1.CreateTokenResponse], error) {
	return answer(f, r.Msg, func() *managerv1.CreateTokenResponse {
		return &managerv1.CreateTokenResponse{Token: "vireo1-abc", Expires: timestamppb.New(noon.Add(r.Msg.ValidFor.AsDuration()))}
	})
}

// fleet is a manager with something of everything: h1 is being emptied.
func fleet() *fakeManager {
	value := 24.0
	score := func(p float64, hard bool) *managerv1.Score {
		return &managerv1.Score{P24H: p / 20, P7D: p / 4, P30D: p, Low30D: p * 0.7, High30D: min(p*1.4, 95), Grade: "C", Hard: hard, At: before(time.Minute)}
	}
	reasons := []*managerv1.Reason{
		{Signal: "smart_197_raw", Text: "pending sectors (197) 0 → 24 in 3 days (usual 0)", Value: &value, Usual: "0", Since: before(72 * time.Hour), Weight: 2.125},
		{Signal: "smart_187_raw", Text: "reported uncorrectable errors (187) 3, unchanged for 9 days (usual 0)", Usual: "0", Weight: 0.5},
	}
	claim := func(uuid, name, holder string, epoch uint64) *managerv1.Claim {
		return &managerv1.Claim{Domain: uuid, DomainName: name, Holder: holder, Epoch: epoch, Phase: "held", Seen: before(2 * time.Second),
			GrantedBy: "adoption", RiskAtGrant: 0.4, Since: before(25 * time.Hour)}
	}
	f := &fakeManager{
		enforceWaitsFor: "h3 does not report",
		hosts: []*managerv1.Host{
			{Name: "h1", State: "evacuating", StateReason: "risk 31.2 % reached 25 %", StateSince: before(3 * time.Minute), Connected: true,
				LastReport: before(2 * time.Second), Libvirtd: true, Risk: score(31.2, false), MemoryKib: 4 << 20, MemoryClaimedKib: 256 << 10,
				Cpus: 4, DomainsRunning: 2, DomainsDefined: 2, HookMode: "observe", HookProblem: "it is not installed: vireo-agent hook install", Heard: true, AgentVersion: "1.0", BootId: "b1", LibvirtVersion: "9.0.0",
				QemuVersion:  "7.2.0",
				Dependencies: []*managerv1.Dependency{{Component: "disk:Z300V1RR", Kind: "root", Name: "/"}, {Component: "nic:eth0", Kind: "bridge", Name: "br0"}}},
			{Name: "h2", State: "healthy", StateSince: before(90 * time.Hour), LastReport: before(5 * time.Minute), Libvirtd: true, Risk: score(0.05, false),
				MemoryKib: 8 << 20, Cpus: 8, HookMode: "enforce", HookProven: true, Heard: true, AgentVersion: "1.0"},
			{Name: "h3", State: "unknown", StateReason: "never reported", Heard: true},
		},
		domains: []*managerv1.DomainRow{
			{Uuid: "11111111-0000-4000-8000-000000000001", Name: "g1", Host: "h1", State: "running", StateReason: "booted", MemoryKib: 128 << 10, Vcpus: 1,
				Claim: claim("11111111-0000-4000-8000-000000000001", "g1", "h1", 41), Persistent: true, ManagedSave: true,
				Disks: []*managerv1.DomainDisk{{Target: "vda", Type: "file", Source: "/shared/g1.qcow2", Locked: true, Why: "QEMU's own lock"},
					{Target: "vdb", Type: "network", Source: "nbd:g1", Why: "a network disk: libvirt never locks these"}},
				Protection: []*managerv1.Protection{{Host: "h2", Why: "vdb: a network disk"}, {Host: "h3", Protected: true, Why: "QEMU's locks on all writable disks"}}},
			{Uuid: "11111111-0000-4000-8000-000000000002", Name: "g2\x1b[2J", Host: "h1", State: "paused", MemoryKib: 1536 << 10, Vcpus: 2},
		},
		components: []*managerv1.ComponentRisk{
			{Host: "h1", Component: "disk:Z300V1RR", Score: score(31.2, false), Reasons: reasons, Impact: "holds the root file system", Model: "default"},
			{Host: "h2", Component: "disk:BAD", Score: score(80, true), Model: "default",
				Reasons: []*managerv1.Reason{{Text: "the drive says that it is failing"}}},
		},
		plan: &managerv1.PlanEvacuationResponse{Estimate: ms(9000), Placements: []*managerv1.Placement{
			{Domain: "11111111-0000-4000-8000-000000000001", DomainName: "g1", Target: "h2", Why: "lowest risk of one that fits", MemoryKib: 128 << 10, Estimate: ms(4000),
				Rejected: []*managerv1.Rejected{{Host: "h3", Reason: "not connected"}}},
			{Domain: "11111111-0000-4000-8000-000000000002", DomainName: "g2", Why: "no host has its network", MemoryKib: 1536 << 10,
				Rejected: []*managerv1.Rejected{{Host: "h2", Reason: "network dmz is not there"}, {Host: "h3", Reason: "not connected"}}},
		}},
		migrations: []*managerv1.Migration{
			{Id: "m2", Domain: "11111111-0000-4000-8000-000000000001", DomainName: "g1", Source: "h1", Target: "h2", State: "running", Switchover: "guarded",
				Reason: "h1 is being emptied", Decision: "d1", Started: before(2 * time.Second), Waiting: "for the copying to end",
				Progress: &managerv1.Progress{DataTotal: 128 << 20, DataProcessed: 96 << 20, DataRemaining: 32 << 20, BytesPerSecond: 48 << 20, Iteration: 1}},
			{Id: "m1", Domain: "11111111-0000-4000-8000-000000000003", DomainName: "g3", Source: "h1", Target: "h2", State: "done", Switchover: "guarded",
				Reason: "h1 is being emptied", Decision: "d1", Started: before(time.Minute), Ended: before(57800 * time.Millisecond), Outcome: "done",
				OutcomeReason: "runs on h2", Downtime: &managerv1.Downtime{Total: ms(320), Switch: ms(280), SourceExit: ms(32), Handover: ms(8)},
				Steps: []*managerv1.Step{{At: before(time.Minute), Name: "claimed", Detail: "epoch 42"}, {At: before(59900 * time.Millisecond), Name: "moving"},
					{At: before(57800 * time.Millisecond), Name: "running", Detail: "on h2"}}},
		},
		events: []*managerv1.Event{
			{Id: 1, At: before(3 * time.Minute), Kind: "host.state", Host: "h1", Text: "evacuating: risk 31.2 % reached 25 %", Severity: "warning"},
			{Id: 2, At: before(time.Minute), Kind: "migration.begun", Host: "h1", Domain: "11111111-0000-4000-8000-000000000001", Migration: "m1", Text: "leaves for h2", Severity: "info"},
			{Id: 3, At: before(2 * time.Second), Kind: "claim.ambiguous", Domain: "x", Text: "g9 runs twice", Severity: "alarm"},
		},
	}
	f.decisions = []*managerv1.Decision{
		{Id: "d1", At: before(3 * time.Minute), Host: "h1", Kind: "evacuate", Status: "acting", Summary: "the disk of the root file system is failing",
			Risk: score(31.2, false), Threshold: 25, Reasons: reasons, Placements: f.plan.Placements, Model: "default", ResolvedBy: "admin", Resolution: "go ahead"},
		{Id: "d2", At: before(4 * time.Minute), Host: "h2", Kind: "quarantine", Status: "waiting", Summary: "the drive says that it is failing", Risk: score(80, true)},
	}
	return f
}

// result is what one command line did.
type result struct {
	code     int
	out, err string
}

// runner is a program on a fake manager.
type runner struct {
	*program
	out, err bytes.Buffer
}

func newRunner(t *testing.T, f *fakeManager) *runner {
	t.Helper()
	_, handler := managerv1connect.NewManagerServiceHandler(f)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	r := &runner{program: &program{in: strings.NewReader(""), getenv: func(string) string { return "" }, now: func() time.Time { return noon },
		screen: func() (int, int) { return 100, 30 }, pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}
	r.program.out, r.program.err = &r.out, &r.err
	r.connect = func() (managerv1connect.ManagerServiceClient, string, error) {
		return managerv1connect.NewManagerServiceClient(server.Client(), server.URL), "https://manager:7443 (from the test)", nil
	}
	return r
}

func (r *runner) do(ctx context.Context, args ...string) result {
	r.out.Reset()
	r.err.Reset()
	code := r.run(ctx, args)
	return result{code, r.out.String(), r.err.String()}
}

// expect fails when the command did not end so. Texts are looked for in both
// outputs.
func (got result) expect(t *testing.T, code int, texts ...string) {
	t.Helper()
	both := got.out + got.err
	if got.code != code {
		t.Errorf("exit %d, want %d\n%s", got.code, code, both)
	}
	for _, text := range texts {
		if !strings.Contains(both, text) {
			t.Errorf("nothing says %q in\n%s", text, both)
		}
	}
}

// errAway is a manager that is only just up.
var errAway = apierr.New(apierr.Unavailable, "starting")
