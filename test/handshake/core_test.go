package handshake

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/wire/join"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/manager/serve"
)

// core stands in for the manager: it keeps tokens and sessions in memory.
type core struct {
	managerv1connect.UnimplementedManagerServiceHandler
	ca *pki.CA

	mu        sync.Mutex
	tokens    map[string]token // by id
	enrolls   int              // calls of Enroll, whatever came of them
	renewals  int
	revoked   map[string]bool
	actors    []pki.Actor
	sessions  chan *conversation
	refuse    error // of the next Connect
	noRenewal error
	slow      chan struct{} // not nil: Enroll waits for it
	within    int           // calls of Enroll now
	most      int           // and at most
	gate      chan struct{}
}

type token struct {
	host string
	hash []byte
	used bool
}

// conversation is a serve.Session that remembers.
type conversation struct {
	peer   pki.Peer
	hello  *agentv1.Hello
	link   serve.Link
	got    chan *agentv1.AgentMessage
	closed chan error
	gate   chan struct{} // not nil: Received takes from it before and after
}

func (c *conversation) Received(m *agentv1.AgentMessage) {
	if c.gate != nil {
		<-c.gate
		<-c.gate
	}
	c.got <- m
}

func (c *conversation) Closed(err error) { c.closed <- err }

func (c *core) token(host string) string {
	t := c.ca.NewToken()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[t.ID] = token{host: host, hash: t.SecretHash()}
	return t.Text()
}

func (c *core) Enroll(_ context.Context, req *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error) {
	c.mu.Lock()
	c.within++
	c.most = max(c.most, c.within)
	slow := c.slow
	c.mu.Unlock()
	if slow != nil {
		<-slow
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.within--
	c.enrolls++
	t, err := join.Parse(req.GetToken())
	if err != nil {
		return nil, apierr.New(apierr.Input, "%w", err)
	}
	known, ok := c.tokens[t.ID]
	if !ok || known.used || !bytes.Equal(known.hash, t.SecretHash()) || known.host != req.GetHost() {
		return nil, apierr.New(apierr.Permission, "this token does not enrol %s", req.GetHost())
	}
	known.used = true
	c.tokens[t.ID] = known
	issued, err := c.ca.IssueAgent(req.GetCsr(), req.GetHost(), time.Now())
	if err != nil {
		return nil, apierr.New(apierr.Input, "%w", err)
	}
	return &agentv1.EnrollResponse{Certificate: issued.Certificate, Ca: c.ca.CertPEM(), Generation: 7}, nil
}

func (c *core) Renew(_ context.Context, peer pki.Peer, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewals++
	if c.noRenewal != nil {
		return nil, c.noRenewal
	}
	issued, err := c.ca.RenewAgent(req.GetCsr(), peer, time.Now())
	if err != nil {
		return nil, apierr.New(apierr.Input, "%w", err)
	}
	return &agentv1.RenewResponse{Certificate: issued.Certificate}, nil
}

func (c *core) Connect(_ context.Context, peer pki.Peer, hello *agentv1.Hello, link serve.Link) (serve.Session, error) {
	c.mu.Lock()
	refuse, gate := c.refuse, c.gate
	c.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	s := &conversation{peer: peer, hello: hello, link: link, gate: gate,
		got: make(chan *agentv1.AgentMessage, 100), closed: make(chan error, 1)}
	if err := link.Send(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Welcome{
		Welcome: &agentv1.Welcome{Session: "s1", Generation: 7}}}); err != nil {
		return nil, err
	}
	c.sessions <- s
	return s, nil
}

func (c *core) ListHosts(ctx context.Context, _ *connect.Request[managerv1.ListHostsRequest]) (*connect.Response[managerv1.ListHostsResponse], error) {
	a, ok := serve.ActorFrom(ctx)
	if !ok {
		return nil, errors.New("no actor behind the door")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.actors = append(c.actors, a)
	return connect.NewResponse(&managerv1.ListHostsResponse{}), nil
}

func (c *core) GetHost(_ context.Context, req *connect.Request[managerv1.GetHostRequest]) (*connect.Response[managerv1.GetHostResponse], error) {
	if req.Msg.GetName() == "panic" {
		panic("on purpose")
	}
	return nil, apierr.New(apierr.NotFound, "no host %s", req.Msg.GetName())
}

func (c *core) isRevoked(cert *x509.Certificate) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked[pki.Serial(cert)]
}

func (c *core) revoke(serial string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[serial] = true
}

// house is one manager's door with everything behind and before it.
type house struct {
	*core
	t      testing.TB
	url    string
	socket string
	own    tls.Certificate
	lead   atomic.Bool
	stop   func()
}

func newHouse(t testing.TB) *house {
	t.Helper()
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssueManager([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(issued.Certificate, issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, own: own, core: &core{ca: ca, tokens: map[string]token{}, revoked: map[string]bool{},
		sessions: make(chan *conversation, 100)}}
	h.lead.Store(true)
	h.socket = filepath.Join(t.TempDir(), "manager.sock")
	h.open("127.0.0.1:0")
	t.Cleanup(func() { h.stop() })
	return h
}

// open starts a server on address; stop ends it and waits.
func (h *house) open(address string) {
	h.t.Helper()
	https, err := net.Listen("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	socket, err := net.Listen("unix", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.url = "https://" + https.Addr().String()
	server := serve.New(serve.Options{
		Agents: h.core, API: h.core,
		Metrics:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("vireo_up 1\n")) }),
		Health:       func(context.Context) error { return nil },
		MetricsToken: func() ([]byte, error) { return []byte("open sesame\n"), nil },
		Revoked:      h.isRevoked,
		TLS:          pki.ServerTLS(func() tls.Certificate { return h.own }, h.ca.Pool(), h.isRevoked, time.Now),
		Now:          time.Now,
		Log:          slog.New(slog.DiscardHandler),
		Leads:        h.lead.Load,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, https, socket) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("the server ended with %v", err)
		}
	})
}

func (h *house) enrolment(host, token string) dial.Enrolment {
	return dial.Enrolment{Manager: h.url, Token: token, Host: host, LibvirtUUID: "u", MachineID: "m",
		Dir: filepath.Join(h.t.TempDir(), "pki"), Now: time.Now}
}

// enrolled is a host that has gone the whole way.
func (h *house) enrolled(host string) dial.Identity {
	h.t.Helper()
	e := h.enrolment(host, h.token(host))
	if _, err := dial.Enroll(h.t.Context(), e); err != nil {
		h.t.Fatal(err)
	}
	id, err := dial.Load(e.Dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *house) dialer(id dial.Identity) *dial.Dialer {
	return dial.NewDialer(dial.Options{Managers: []string{h.url}, Identity: id, Clock: clock{},
		Random: func() float64 { return 0 }})
}

func (h *house) operator(role pki.Role) (tls.Certificate, string) {
	h.t.Helper()
	issued, err := h.ca.IssueOperator("op-"+string(role), role, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(issued.Certificate, issued.Key)
	if err != nil {
		h.t.Fatal(err)
	}
	return pair, issued.Serial
}

// client speaks HTTP/2 with these certificates, or none.
func (h *house) client(certs ...tls.Certificate) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: h.ca.Pool(), Certificates: certs},
		ForceAttemptHTTP2: true,
	}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// clock is the machine's.
type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) After(d time.Duration) (<-chan time.Time, func()) {
	timer := time.NewTimer(d)
	return timer.C, func() { timer.Stop() }
}

// wait takes what must come soon.
func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}
