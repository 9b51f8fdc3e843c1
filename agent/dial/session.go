package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/wire/leader"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/agent/wire/v1/agentv1connect"
)

const (
	connectTimeout = 5 * time.Second
	// pingAfter and pingTimeout find a manager that vanished without a word. Of
	// several another may lead by then: that has to be found out sooner.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second

	connectOneOf = time.Second
	pingOneOf    = time.Second
	answerOneOf  = 1500 * time.Millisecond
	pauseOneOf   = 300 * time.Millisecond
	// silentOneOf is how long one that did not answer is passed over, whoever names
	// it: the others name a leader that has died for as long as its lease.
	silentOneOf = 2 * time.Second
	maxMessage  = 32 << 20

	// firstPause doubles with each failure up to lastPause; a host is back within
	// that time after its manager is. Each pause is cut by a random part, so that
	// a thousand hosts do not come back in the same moment.
	firstPause = 100 * time.Millisecond
	lastPause  = 3 * time.Second
	// settled is how long a session must have lasted for its end to be no failure.
	settled = 10 * time.Second
)

// Options are what a Dialer is made of.
type Options struct {
	Managers []string // their URLs; the one that leads is found
	Identity Identity
	Clock    agent.Clock
	// Random returns numbers in [0, 1).
	Random func() float64
	// Save keeps a renewed identity, certificate and key in PEM; nil: it is used until
	// the agent ends.
	Save func(identity []byte) error
	Log  *slog.Logger // nil: nothing is logged
}

// Dialer opens sessions; its Dial is an agent.Dialer. One goroutine uses it.
type Dialer struct {
	o      Options
	failed int // attempts and short sessions in a row, at every manager
	opened time.Time
	next   int                  // of the managers, to be tried
	tried  int                  // attempts since all were tried
	named  string               // the leader, in the words of a manager that does not lead
	silent map[string]time.Time // when each last failed without saying who leads

	renewed time.Time // when a later certificate was last asked for
}

// NewDialer prepares a Dialer.
func NewDialer(o Options) *Dialer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Dialer{o: o, silent: map[string]time.Time{}}
}

// Dial waits as its backoff wants, connects, and says hello. A manager that names
// another as the leader is followed at once, once. It fails when that attempt
// does; the next call tries the next manager, and waits longer once all have been
// tried.
func (d *Dialer) Dial(ctx context.Context, hello *agentv1.Hello) (agent.Session, error) {
	if !d.opened.IsZero() && d.o.Clock.Now().Sub(d.opened) >= settled {
		d.failed = 0
	}
	if err := d.wait(ctx); err != nil {
		return nil, err
	}
	d.opened = time.Time{}
	manager := d.manager()
	s, err := d.try(ctx, manager, hello)
	if err != nil && d.named != "" && ctx.Err() == nil {
		manager = d.named
		s, err = d.try(ctx, manager, hello)
	}
	if err != nil {
		return nil, err
	}
	d.opened, d.tried = d.o.Clock.Now(), 0
	d.failed = max(d.failed, 1)
	d.renew(ctx, manager)
	return s, nil
}

// try is one attempt at one manager.
func (d *Dialer) try(ctx context.Context, manager string, hello *agentv1.Hello) (agent.Session, error) {
	if d.tried++; d.tried >= len(d.o.Managers) {
		d.tried = 0
		d.failed++
	}
	s, err := d.open(ctx, manager, hello)
	if err != nil {
		named, refused := leader.Of(err)
		d.turn(manager, named, refused)
		return nil, fmt.Errorf("%s: %w", manager, err)
	}
	delete(d.silent, manager)
	return s, nil
}

// manager is the one to try: the one that was named, or the next of those that
// were not silent of late, or the next.
func (d *Dialer) manager() string {
	if d.named != "" {
		return d.named
	}
	for i := range d.o.Managers {
		if at := (d.next + i) % len(d.o.Managers); !d.quiet(d.o.Managers[at]) {
			d.next = at
			break
		}
	}
	return d.o.Managers[d.next]
}

// turn chooses the next to try after one has failed, perhaps by naming another.
func (d *Dialer) turn(failed, named string, refused bool) {
	if failed == d.o.Managers[d.next] {
		d.next = (d.next + 1) % len(d.o.Managers)
	}
	if refused {
		delete(d.silent, failed)
	} else {
		d.silent[failed] = d.o.Clock.Now()
	}
	d.named = ""
	if named != failed && !d.quiet(named) {
		d.named = named
	}
}

// quiet says whether a manager did not answer of late.
func (d *Dialer) quiet(manager string) bool {
	last, was := d.silent[manager]
	return was && d.o.Clock.Now().Sub(last) < silentOneOf
}

// several says whether another manager may lead.
func (d *Dialer) several() bool { return len(d.o.Managers) > 1 }

func (d *Dialer) wait(ctx context.Context) error {
	pause := pauseAfter(d.failed, d.o.Random())
	if d.several() {
		pause = min(pause, pauseOneOf/2+time.Duration(d.o.Random()*float64(pauseOneOf/2)))
	}
	if pause == 0 {
		return ctx.Err()
	}
	c, stop := d.o.Clock.After(pause)
	defer stop()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pauseAfter is how long to wait after so many failures in a row.
func pauseAfter(failed int, random float64) time.Duration {
	if failed == 0 {
		return 0
	}
	pause := lastPause
	if failed <= 5 {
		pause = min(lastPause, firstPause<<(failed-1))
	}
	return pause/2 + time.Duration(random*float64(pause/2))
}

func (d *Dialer) tls() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      d.o.Identity.CA,
		Certificates: []tls.Certificate{d.o.Identity.Certificate},
		Time:         d.o.Clock.Now,
	}
}

func (d *Dialer) open(ctx context.Context, manager string, hello *agentv1.Hello) (agent.Session, error) {
	answer := 2 * connectTimeout
	transport := newTransport(d.tls())
	if d.several() {
		answer = answerOneOf
		transport.DialContext = (&net.Dialer{Timeout: connectOneOf}).DialContext
		transport.TLSHandshakeTimeout = connectOneOf
		transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingOneOf, PingTimeout: pingOneOf, WriteByteTimeout: 2 * pingOneOf}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	client := agentv1connect.NewAgentServiceClient(httpClient(transport), manager, connect.WithReadMaxBytes(maxMessage))
	s := &session{stream: client.Session(ctx), cancel: cancel, transport: transport}
	context.AfterFunc(ctx, s.Close)

	// Until the manager has answered it may hang in a hundred ways.
	c, stop := d.o.Clock.After(answer)
	answered := make(chan struct{})
	go func() {
		select {
		case <-c:
			cancel(errors.New("no answer to hello"))
		case <-answered:
		}
	}()
	defer stop()
	defer close(answered)
	if err := s.Send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		// Send knows only that the stream ended; Recv knows why.
		if _, rerr := s.Recv(); rerr != nil {
			err = rerr
		}
		s.Close()
		return nil, err
	}
	welcome, err := s.Recv()
	if err != nil {
		s.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errClosed) {
			err = cause
		}
		return nil, err
	}
	if welcome.GetWelcome() == nil {
		s.Close()
		return nil, fmt.Errorf("the manager answered hello with %T", welcome.GetBody())
	}
	s.first = welcome
	return s, nil
}

var errClosed = errors.New("the session was closed")

// session is an agent.Session.
type session struct {
	stream    *connect.BidiStreamForClient[agentv1.AgentMessage, agentv1.ManagerMessage]
	cancel    context.CancelCauseFunc
	transport *http.Transport
	once      sync.Once
	first     *agentv1.ManagerMessage // Welcome, read while dialling
}

func (s *session) Send(m *agentv1.AgentMessage) error { return s.stream.Send(m) }

func (s *session) Recv() (*agentv1.ManagerMessage, error) {
	if m := s.first; m != nil {
		s.first = nil
		return m, nil
	}
	return s.stream.Receive()
}

func (s *session) Close() {
	s.once.Do(func() {
		// The request's body ends first: HTTP/2's client looks at the context
		// only once it no longer waits for more of the body.
		_ = s.stream.CloseRequest()
		s.cancel(errClosed)
		s.transport.CloseIdleConnections()
	})
}

// newTransport gives one conversation a connection of its own, so that a dead
// one is never tried again.
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: connectTimeout,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingAfter + pingTimeout},
	}
}

// httpClient follows no redirects: the manager that was asked for is meant.
func httpClient(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
