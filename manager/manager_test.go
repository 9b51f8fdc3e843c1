package manager

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// handClock ticks when a test says so.
type handClock struct {
	mu    sync.Mutex
	now   time.Time
	ticks chan time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Tick(time.Duration) (<-chan time.Time, func()) { return c.ticks, func() {} }

func (c *handClock) pass(d time.Duration) {
	for range d / tick {
		c.mu.Lock()
		c.now = c.now.Add(tick)
		now := c.now
		c.mu.Unlock()
		c.ticks <- now
	}
}

// agentLink is the agent's end of a conversation.
type agentLink struct{ got chan *agentv1.ManagerMessage }

func (l agentLink) Send(m *agentv1.ManagerMessage) error { l.got <- m; return nil }
func (agentLink) Close(error)                            {}

type site struct {
	t      *testing.T
	m      *Manager
	clock  *handClock
	ca     *pki.CA
	client managerv1connect.ManagerServiceClient
	ctx    context.Context
}

// newSite is a running Manager with the real model, a real store and a real CA,
// and a client of its API that is alice, an admin.
func newSite(t *testing.T) *site {
	t.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	clock := &handClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ticks: make(chan time.Time)}
	ca, err := pki.NewCA(clock.now)
	if err != nil {
		t.Fatal(err)
	}
	model, err := pfa.Default()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m, err := New(ctx, Options{Store: db, Readings: db, Config: configs.DefaultManager(), Clock: clock, Issuer: ca, Scorer: ModelScorer{model}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	path, handler := managerv1connect.NewManagerServiceHandler(m)
	mux := http.NewServeMux()
	mux.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(serve.WithActor(r.Context(), pki.Actor{Name: "alice", Role: pki.Admin})))
	}))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		server.Close()
		db.Close()
	})
	return &site{t: t, m: m, clock: clock, ca: ca, ctx: ctx, client: managerv1connect.NewManagerServiceClient(server.Client(), server.URL)}
}

// join enrols a host as an operator and an agent do it, and begins its session.
func (s *site) join(host string) (agentLink, serve.Session, *agentv1.Welcome) {
	s.t.Helper()
	token, err := s.client.CreateToken(s.ctx, connect.NewRequest(&managerv1.CreateTokenRequest{Host: host}))
	if err != nil {
		s.t.Fatal(err)
	}
	req := &agentv1.EnrollRequest{Token: token.Msg.GetToken(), Host: host, Csr: csr(s.t, host), LibvirtHostUuid: "uuid-" + host, MachineId: "machine-" + host}
	res, err := s.m.Enroll(s.ctx, req)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.m.Enroll(s.ctx, req); err == nil || !strings.Contains(err.Error(), "already used") {
		s.t.Errorf("the token was good twice: %v", err)
	}
	cert, err := pki.ParseCertificate(res.GetCertificate())
	if err != nil {
		s.t.Fatal(err)
	}
	link := agentLink{make(chan *agentv1.ManagerMessage, 100)}
	session, err := s.m.Connect(s.ctx, pki.Peer{Host: host, Serial: pki.Serial(cert)}, &agentv1.Hello{
		Identity: &agentv1.Identity{Host: host, LibvirtHostUuid: "uuid-" + host, MachineId: "machine-" + host}, BootId: "boot", Protocol: 1}, link)
	if err != nil {
		s.t.Fatal(err)
	}
	w := (<-link.got).GetWelcome()
	if w.GetRefused() != "" || w.GetSession() == "" || w.GetTerm() == 0 {
		s.t.Fatalf("welcome %v", w)
	}
	return link, session, w
}

func report(w *agentv1.Welcome, seq uint64, domains ...*agentv1.Domain) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Report{Report: &agentv1.Report{
		Session: w.GetSession(), BootId: "boot", Seq: seq, Libvirtd: true, Domains: domains,
		Facts:        &agentv1.HostFacts{MemoryKib: 16 << 20, Cpus: 4, Arch: "x86_64", MachineTypes: []string{"pc"}},
		Dependencies: []*agentv1.Dependency{{Component: "disk:S1", Kind: agentv1.DependencyKind_DEPENDENCY_KIND_ROOT, Name: "/"}},
	}}}
}

func guest(name string) *agentv1.Domain {
	return &agentv1.Domain{Uuid: "uuid-" + name, Name: name, State: agentv1.DomainState_DOMAIN_STATE_RUNNING, MemoryKib: 1 << 20, Machine: "pc", Persistent: true}
}

func TestAPI(t *testing.T) {
	s := newSite(t)
	_, h1, w1 := s.join("h1")
	link2, h2, w2 := s.join("h2")
	h1.Received(report(w1, 1, guest("g1")))
	h2.Received(report(w2, 1))
	s.clock.pass(time.Second)

	hosts, err := s.client.ListHosts(s.ctx, connect.NewRequest(&managerv1.ListHostsRequest{}))
	if err != nil || len(hosts.Msg.Hosts) != 2 || hosts.Msg.Hosts[0].State != "healthy" || hosts.Msg.Hosts[0].DomainsRunning != 1 || hosts.Msg.Hosts[0].MemoryClaimedKib != 1<<20 {
		t.Fatalf("hosts %v, %v", hosts, err)
	}
	claims, err := s.client.ListClaims(s.ctx, connect.NewRequest(&managerv1.ListClaimsRequest{}))
	if err != nil || len(claims.Msg.Claims) != 1 || claims.Msg.Claims[0].Holder != "h1" || claims.Msg.Claims[0].Phase != "held" {
		t.Errorf("claims %v, %v", claims, err)
	}
	_, err = s.client.GetHost(s.ctx, connect.NewRequest(&managerv1.GetHostRequest{Name: "h9"}))
	if connect.CodeOf(apierr.ToConnect(err)) != connect.CodeInternal && !strings.Contains(err.Error(), "no host h9") {
		t.Errorf("an unknown host: %v", err)
	}

	plan, err := s.client.PlanEvacuation(s.ctx, connect.NewRequest(&managerv1.PlanEvacuationRequest{Host: "h1"}))
	if err != nil || len(plan.Msg.Placements) != 1 || plan.Msg.Placements[0].Target != "h2" || plan.Msg.Estimate.AsDuration() <= 0 {
		t.Errorf("plan %v, %v", plan, err)
	}
	open, err := s.client.ListMigrations(s.ctx, connect.NewRequest(&managerv1.ListMigrationsRequest{}))
	if err != nil || len(open.Msg.Migrations) != 0 {
		t.Errorf("a plan moved something: %v, %v", open, err)
	}
	evac, err := s.client.EvacuateHost(s.ctx, connect.NewRequest(&managerv1.EvacuateHostRequest{Host: "h1", Reason: "a test"}))
	if err != nil || len(evac.Msg.Placements) != 1 {
		t.Fatalf("evacuate %v, %v", evac, err)
	}
	for m := range link2.got {
		if p := m.GetOrder().GetPrepare(); p != nil {
			if p.GetDomain().GetName() != "g1" || p.GetSource() != "h1" || m.GetOrder().GetSession() != w2.GetSession() || m.GetOrder().GetTerm() != w2.GetTerm() {
				t.Errorf("prepare %v", m)
			}
			break
		}
	}
	story, err := s.client.Explain(s.ctx, connect.NewRequest(&managerv1.ExplainRequest{Subject: &managerv1.ExplainRequest_Domain{Domain: "g1"}}))
	if err != nil || len(story.Msg.Migrations) != 1 || len(story.Msg.Decisions) != 1 || story.Msg.Decisions[0].ResolvedBy != "alice" || story.Msg.Placement.GetWhy() == "" {
		t.Errorf("story %v, %v", story, err)
	}
	id := story.Msg.Migrations[0].Id
	if _, err := s.client.AbortMigration(s.ctx, connect.NewRequest(&managerv1.AbortMigrationRequest{Id: id, Reason: "enough"})); err != nil {
		t.Errorf("abort: %v", err)
	}
	if _, err := s.client.ReturnHost(s.ctx, connect.NewRequest(&managerv1.ReturnHostRequest{Host: "h1", Reason: "done"})); err != nil {
		t.Errorf("return: %v", err)
	}
	if _, err := s.client.ReturnHost(s.ctx, connect.NewRequest(&managerv1.ReturnHostRequest{Host: "h1"})); err == nil {
		t.Error("a healthy host was returned")
	}
	if _, err := s.client.RemoveHost(s.ctx, connect.NewRequest(&managerv1.RemoveHostRequest{Host: "h1", Reason: "x"})); err == nil || !strings.Contains(err.Error(), "claim of g1") {
		t.Errorf("a host with a claim was removed: %v", err)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stream, err := s.client.WatchEvents(ctx, connect.NewRequest(&managerv1.WatchEventsRequest{Follow: true, Last: 1000}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.SetAutomation(s.ctx, connect.NewRequest(&managerv1.SetAutomationRequest{On: false})); err == nil {
		t.Error("automation was switched off without a reason")
	}
	if _, err := s.client.SetAutomation(s.ctx, connect.NewRequest(&managerv1.SetAutomationRequest{On: false, Reason: "power works"})); err != nil {
		t.Fatal(err)
	}
	passed := make(chan struct{})
	go func() { // what happened is readable with the next flush
		s.clock.pass(time.Second)
		close(passed)
	}()
	defer func() { <-passed }()
	var last uint64
	for stream.Receive() {
		e := stream.Msg()
		if e.GetId() <= last {
			t.Fatalf("event %d after %d", e.GetId(), last)
		}
		last = e.GetId()
		if e.GetKind() == "automation.off" {
			if !strings.Contains(e.GetText(), "alice") || !strings.Contains(e.GetText(), "power works") {
				t.Errorf("event %v", e)
			}
			break
		}
	}
	status, err := s.client.GetStatus(s.ctx, connect.NewRequest(&managerv1.GetStatusRequest{}))
	if err != nil || status.Msg.Automation || status.Msg.AutomationReason != "power works" || status.Msg.Model == "" || status.Msg.Mode != "recommend" {
		t.Errorf("status %v, %v", status, err)
	}
}

func TestVirshFindsTheHost(t *testing.T) {
	s := newSite(t)
	link1, h1, w1 := s.join("h1")
	_, h2, w2 := s.join("h2")
	h1.Received(report(w1, 1, guest("g1")))
	h2.Received(report(w2, 1))
	asked := make(chan []string, 2)
	go func() {
		for m := range link1.got {
			if v := m.GetVirsh(); v != nil {
				asked <- v.GetArgs()
				r := &agentv1.VirshResult{Id: v.GetId(), Stdout: []byte("running\n\n")}
				if v.GetArgs()[0] == "destroy" {
					r = &agentv1.VirshResult{Id: v.GetId(), Error: "not allowed", Refused: true}
				}
				h1.Received(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Virsh{Virsh: r}})
			}
		}
	}()
	res, err := s.client.Virsh(s.ctx, connect.NewRequest(&managerv1.VirshRequest{Domain: "g1", Args: []string{"domstate"}}))
	if err != nil || len(res.Msg.Outputs) != 1 || string(res.Msg.Outputs[0].Stdout) != "running\n\n" || res.Msg.Outputs[0].Host != "h1" {
		t.Fatalf("%v, %v", res, err)
	}
	if args := <-asked; !slices.Equal(args, []string{"domstate", "g1"}) {
		t.Errorf("asked for %q", args)
	}
	res, err = s.client.Virsh(s.ctx, connect.NewRequest(&managerv1.VirshRequest{Domain: "g1", Args: []string{"destroy"}}))
	if err != nil || len(res.Msg.Outputs) != 1 || !res.Msg.Outputs[0].Refused || res.Msg.Outputs[0].Error != "not allowed" {
		t.Errorf("what the agent refuses: %v, %v", res, err)
	}
	if _, err := s.client.Virsh(s.ctx, connect.NewRequest(&managerv1.VirshRequest{Domain: "g9", Args: []string{"domstate"}})); err == nil {
		t.Error("an unknown domain was found")
	}
	// An agent that goes away answers for nobody.
	done := make(chan *managerv1.VirshResponse, 1)
	go func() {
		res, err := s.client.Virsh(s.ctx, connect.NewRequest(&managerv1.VirshRequest{Host: "h2", Args: []string{"list"}}))
		if err == nil {
			done <- res.Msg
		}
		close(done)
	}()
	for {
		n := 0
		if err := s.m.do(s.ctx, func(time.Time) { n = len(s.m.core.asked.virsh) }); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			break
		}
	}
	h2.Closed(nil)
	if res := <-done; res == nil || !strings.Contains(res.Outputs[0].GetError(), "went away") {
		t.Errorf("answer %v", res)
	}
}

// TestImportedPast: a recorded past makes a risk by the real model, once.
func TestImportedPast(t *testing.T) {
	s := newSite(t)
	_, h1, w1 := s.join("h1")
	h1.Received(report(w1, 1))
	// The agent has read the drive already: the past comes after it.
	h1.Received(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: &agentv1.ReadingBatch{BootId: "b1", Id: 1, Readings: []*agentv1.Reading{{
		Component: "disk:S1", Signal: signal.SmartReportedUncorrectable, Value: proto.Float64(117), Unit: "count", Status: "ok", ObservedAt: timestamppb.New(s.clock.Now()), Seq: 1,
	}}}}})
	var past []*managerv1.ImportedReading
	for day := range 40 {
		for name, value := range map[string]float64{signal.SmartReallocatedSectors: float64(day * day * 8), signal.SmartPendingSectors: float64(day * 4), signal.SmartReportedUncorrectable: float64(day * 3),
			signal.SmartOfflineUncorrectable: float64(day * 4), signal.SmartPowerOnHours: float64(20000 + 24*day)} {
			past = append(past, &managerv1.ImportedReading{Component: "disk:S1", Signal: name, Value: proto.Float64(value), Unit: "count", Status: "ok",
				ObservedAt: timestamppb.New(s.clock.Now().AddDate(0, 0, day-40))})
		}
	}
	req := &managerv1.ImportReadingsRequest{Host: "h1", Readings: past}
	res, err := s.client.ImportReadings(s.ctx, connect.NewRequest(req))
	if err != nil || res.Msg.Kept != uint64(len(past)) {
		t.Fatalf("kept %v of %d, %v", res, len(past), err)
	}
	risk, err := s.client.ListRisk(s.ctx, connect.NewRequest(&managerv1.ListRiskRequest{}))
	if err != nil || len(risk.Msg.Components) != 1 {
		t.Fatalf("risk %v, %v", risk, err)
	}
	if c := risk.Msg.Components[0]; c.Score.P30D < 2 || len(c.Reasons) == 0 || !strings.Contains(c.Impact, "root file system") || c.Model == "" {
		t.Errorf("component %v", c)
	}
	var texts []string
	for _, r := range risk.Msg.Components[0].Reasons {
		texts = append(texts, r.Text)
	}
	if want := "reported uncorrectable errors (187) 0 → 117 in 40 days"; !strings.Contains(strings.Join(texts, "\n"), want) {
		t.Errorf("the past was not seen in its order: no %q in %q", want, texts)
	}
	if res, err = s.client.ImportReadings(s.ctx, connect.NewRequest(req)); err != nil || res.Msg.Kept != 0 {
		t.Errorf("a second import kept %v, %v", res, err)
	}
	past[0].Signal = "made_up"
	if _, err = s.client.ImportReadings(s.ctx, connect.NewRequest(req)); err == nil {
		t.Error("a signal outside the catalogue was imported")
	}
}

func TestTokens(t *testing.T) {
	s := newSite(t)
	s.join("h1")
	for name, req := range map[string]*managerv1.CreateTokenRequest{
		"a name with a slash": {Host: "a/b"},
		"enrolled already":    {Host: "h1"},
		"valid for a year":    {Host: "h3", ValidFor: durationpb.New(365 * 24 * time.Hour)},
	} {
		if _, err := s.client.CreateToken(s.ctx, connect.NewRequest(req)); err == nil {
			t.Errorf("%s: a token", name)
		}
	}
	token, err := s.client.CreateToken(s.ctx, connect.NewRequest(&managerv1.CreateTokenRequest{Host: "h3", ValidFor: durationpb.New(time.Minute)}))
	if err != nil {
		t.Fatal(err)
	}
	enrol := func(host string) error {
		_, err := s.m.Enroll(s.ctx, &agentv1.EnrollRequest{Token: token.Msg.Token, Host: host, Csr: csr(t, host)})
		return err
	}
	if err := enrol("h4"); err == nil || !strings.Contains(err.Error(), "for host h3, not h4") {
		t.Errorf("another host's token: %v", err)
	}
	s.clock.pass(time.Minute)
	if err := enrol("h3"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired token: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	s := newSite(t)
	_, h1, w1 := s.join("h1")
	h1.Received(report(w1, 1, guest("g1")))
	s.clock.pass(time.Second)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.m.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "vireo_") || f.GetHelp() == "" {
			t.Errorf("%s: %q", f.GetName(), f.GetHelp())
		}
		found[f.GetName()] = true
	}
	for _, name := range []string{"vireo_host_up", "vireo_host_risk_ratio", "vireo_claims", "vireo_migrations_stuck", "vireo_automation_enabled", "vireo_migration_downtime_seconds", "vireo_host_memory_claimed_bytes"} {
		if !found[name] {
			t.Errorf("no %s", name)
		}
	}
}

// TestUnknownHostIsNoEmptyList: a filter by a host that is not there is a
// mistake, and says so.
func TestUnknownHostIsNoEmptyList(t *testing.T) {
	s := newSite(t)
	_, h1, w1 := s.join("h1")
	h1.Received(report(w1, 1))
	lists := map[string]func(host string) error{
		"domains": func(host string) error {
			_, err := s.client.ListDomains(s.ctx, connect.NewRequest(&managerv1.ListDomainsRequest{Host: host}))
			return err
		},
		"claims": func(host string) error {
			_, err := s.client.ListClaims(s.ctx, connect.NewRequest(&managerv1.ListClaimsRequest{Host: host}))
			return err
		},
		"risk": func(host string) error {
			_, err := s.client.ListRisk(s.ctx, connect.NewRequest(&managerv1.ListRiskRequest{Host: host}))
			return err
		},
		"migrations": func(host string) error {
			_, err := s.client.ListMigrations(s.ctx, connect.NewRequest(&managerv1.ListMigrationsRequest{Host: host}))
			return err
		},
		"decisions": func(host string) error {
			_, err := s.client.ListDecisions(s.ctx, connect.NewRequest(&managerv1.ListDecisionsRequest{Host: host}))
			return err
		},
		"events": func(host string) error {
			stream, err := s.client.WatchEvents(s.ctx, connect.NewRequest(&managerv1.WatchEventsRequest{Host: host, Last: 1}))
			if err != nil {
				return err
			}
			defer stream.Close()
			for stream.Receive() {
			}
			return stream.Err()
		},
	}
	for name, list := range lists {
		if err := list("h1"); err != nil {
			t.Errorf("%s of h1: %v", name, err)
		}
		if err := list("h7"); err == nil || !strings.Contains(err.Error(), "no host h7") {
			t.Errorf("%s of a host that is not there: %v", name, err)
		}
	}
}
