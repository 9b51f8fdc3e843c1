package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/wire/v1/agentv1connect"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

const (
	// maxMessage bounds one message; the largest is a report of a host with some
	// thousands of domains, or a batch of imported readings.
	maxMessage = 32 << 20
	// maxStranger bounds the whole request of a caller without a certificate:
	// an enrolment is below 2 KiB.
	maxStranger = 64 << 10
	// pingAfter and pingTimeout find a peer that vanished without a word.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// stopTimeout is how long requests may go on once the server is to stop.
	stopTimeout = 5 * time.Second
)

// Options are what a Server is made of. All but MetricsToken and Leads are needed.
type Options struct {
	Agents  Agents
	API     managerv1connect.ManagerServiceHandler
	Metrics http.Handler
	// Health says what is wrong with the manager, nil when nothing is.
	Health func(context.Context) error
	// MetricsToken reads the bearer token that opens /metrics and /healthz; nil
	// when only certificates do. It is read with each request, so that it can be
	// changed in place.
	MetricsToken func() ([]byte, error)
	// Revoked says whether a certificate that was verified is no longer valid.
	Revoked func(cert *x509.Certificate) bool
	// Leads says whether this manager still leads; nil: always. It is asked just
	// before anything is said, because a process that was stopped for a while
	// does not know.
	Leads func() bool
	TLS   *tls.Config // pki.ServerTLS
	Now   func() time.Time
	Log   *slog.Logger
}

// Server is the manager's door.
type Server struct {
	o      Options
	agents *agentHandler
	routes http.Handler
}

// New prepares a server; Run opens it.
func New(o Options) *Server {
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	s := &Server{o: o, agents: &agentHandler{agents: o.Agents, now: o.Now, leads: o.Leads, enrolling: make(chan struct{}, enrolAtOnce)}}
	options := []connect.HandlerOption{
		connect.WithInterceptors(guard{log: o.Log, leads: o.Leads}),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithRecover(func(ctx context.Context, spec connect.Spec, _ http.Header, p any) error {
			return fmt.Errorf("panic in %s: %v", spec.Procedure, p)
		}),
	}
	mux := http.NewServeMux()
	mux.Handle(agentv1connect.NewAgentServiceHandler(s.agents, options...))
	mux.Handle(managerv1connect.NewManagerServiceHandler(o.API, options...))
	mux.Handle("GET /metrics", s.readers(o.Metrics))
	mux.Handle("GET /healthz", s.readers(http.HandlerFunc(s.healthz)))
	s.routes = mux
	return s
}

// Run serves on both listeners until ctx ends, then lets requests finish for a
// few seconds. It closes the listeners. socket may be nil.
func (s *Server) Run(ctx context.Context, https, socket net.Listener) error {
	quiet := slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug) // handshakes that fail; scanners make many
	tlsServer := &http.Server{
		Handler:           s.identified(s.routes),
		TLSConfig:         s.o.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog:          quiet,
	}
	servers := []*http.Server{tlsServer}
	failed := make(chan error, 2)
	go func() { failed <- tlsServer.ServeTLS(https, "", "") }()
	if socket != nil {
		local := &http.Server{
			Handler:           s.routes,
			ReadHeaderTimeout: 10 * time.Second,
			ConnContext:       socketContext,
			Protocols:         new(http.Protocols),
			ErrorLog:          quiet,
		}
		local.Protocols.SetHTTP1(true)
		local.Protocols.SetUnencryptedHTTP2(true)
		servers = append(servers, local)
		go func() { failed <- local.Serve(socket) }()
	}

	var first error
	running := len(servers)
	select {
	case <-ctx.Done():
	case first = <-failed:
		running--
	}
	s.agents.stop()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace())
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(stopping) != nil {
			server.Close() // those that follow events, and whoever else does not end
		}
	}
	for ; running > 0; running-- {
		if err := <-failed; first == nil && !errors.Is(err, http.ErrServerClosed) {
			first = err
		}
	}
	return first
}

// grace is how long requests may go on once the server is to stop. What a manager
// would say that does not lead is refused anyway; and to close connections in
// order takes a second, for which the next leader on this port, which may be this
// process, would keep the fleet waiting.
func (s *Server) grace() time.Duration {
	if s.o.Leads == nil || !s.o.Leads() {
		return 0
	}
	return stopTimeout
}

type controlKey struct{}

// identified puts the caller, and the means to set deadlines, into the request.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := identify(r, s.o.Revoked)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		if c.nobody() {
			r.Body = http.MaxBytesReader(w, r.Body, maxStranger)
		}
		ctx := withCaller(r.Context(), c)
		ctx = context.WithValue(ctx, controlKey{}, http.NewResponseController(w))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
