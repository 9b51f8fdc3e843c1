package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
)

const (
	// queueLen is how many messages may wait for an agent that does not read. A
	// busy move needs a handful; a confirmation of every domain after a boot
	// comes in one burst.
	queueLen = 4096
	// helloTimeout is how long a new conversation may stay silent.
	helloTimeout = 10 * time.Second
	// flushTimeout is how long what is queued may take once the conversation is over.
	flushTimeout = 2 * time.Second
	// enrolAtOnce is how many strangers' calls may be with the core at a time,
	// so that a flood of them keeps nobody from moving a guest.
	enrolAtOnce = 4
)

var (
	errQueueFull = errors.New("the agent does not read what it is sent")
	errStopping  = errors.New("the manager stops")
	// What was queued before the lead was lost is nobody's word any more.
	errNotLeading = errors.New("this manager does not lead any more")
)

// agentHandler is the generated service on top of Agents.
type agentHandler struct {
	agents    Agents
	now       func() time.Time
	leads     func() bool
	enrolling chan struct{} // holds one for each call under way

	mu       sync.Mutex
	links    map[*link]struct{}
	stopping bool
}

func (h *agentHandler) Enroll(ctx context.Context, req *connect.Request[agentv1.EnrollRequest]) (*connect.Response[agentv1.EnrollResponse], error) {
	select {
	case h.enrolling <- struct{}{}:
		defer func() { <-h.enrolling }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	res, err := h.agents.Enroll(ctx, req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

func (h *agentHandler) Renew(ctx context.Context, req *connect.Request[agentv1.RenewRequest]) (*connect.Response[agentv1.RenewResponse], error) {
	peer := callerFrom(ctx).peer
	if peer == nil {
		return nil, errors.New("a request for a certificate came past the door")
	}
	res, err := h.agents.Renew(ctx, *peer, req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// Session runs one conversation: this goroutine writes, another one reads. It
// returns when both have ended, so that the core hears of nothing afterwards.
func (h *agentHandler) Session(ctx context.Context, stream *connect.BidiStream[agentv1.AgentMessage, agentv1.ManagerMessage]) error {
	peer := callerFrom(ctx).peer
	control, ok := ctx.Value(controlKey{}).(*http.ResponseController)
	if peer == nil || !ok {
		return errors.New("a session came past the door")
	}
	if err := control.SetReadDeadline(h.now().Add(helloTimeout)); err != nil {
		return fmt.Errorf("session of %s: %w", peer.Host, err)
	}
	first, err := stream.Receive()
	if err != nil {
		return fmt.Errorf("session of %s: before hello: %w", peer.Host, err)
	}
	hello := first.GetHello()
	if hello == nil {
		return apierr.New(apierr.Input, "session of %s: the first message is no hello", peer.Host)
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("session of %s: %w", peer.Host, err)
	}

	l := &link{queue: make(chan *agentv1.ManagerMessage, queueLen), over: make(chan struct{}), control: control, now: h.now, leads: h.leads}
	if !h.add(l) {
		return apierr.New(apierr.Unavailable, "session of %s: %w", peer.Host, errStopping)
	}
	defer h.remove(l)
	// Whatever happens to the request ends the link, and only that ends it here.
	stop := context.AfterFunc(ctx, func() { l.Close(context.Cause(ctx)) })
	defer stop()

	session, err := h.agents.Connect(ctx, *peer, hello, l)
	if err != nil {
		l.Close(err)
		return err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			msg, err := stream.Receive()
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				l.Close(err)
				return
			}
			session.Received(msg)
		}
	}()
	l.write(stream.Send)
	// Wakes the reader; it fails only when the stream has gone, which does too.
	_ = control.SetReadDeadline(h.now().Add(-time.Second))
	<-read
	session.Closed(l.reason)
	if l.reason == nil {
		return nil
	}
	var refusal *apierr.Error
	if errors.As(l.reason, &refusal) {
		return l.reason
	}
	return apierr.New(apierr.Unavailable, "session of %s: %w", peer.Host, l.reason)
}

func (h *agentHandler) add(l *link) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	if h.links == nil {
		h.links = map[*link]struct{}{}
	}
	h.links[l] = struct{}{}
	return true
}

func (h *agentHandler) remove(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.links, l)
}

// stop ends all conversations and lets no new one begin.
func (h *agentHandler) stop() {
	h.mu.Lock()
	h.stopping = true
	var open []*link
	for l := range h.links {
		open = append(open, l)
	}
	h.mu.Unlock()
	for _, l := range open {
		l.Close(errStopping)
	}
}

// link is the Link of one conversation.
type link struct {
	queue   chan *agentv1.ManagerMessage
	control *http.ResponseController
	now     func() time.Time
	leads   func() bool

	once   sync.Once
	over   chan struct{} // closed once reason is set
	reason error
}

func (l *link) Send(msg *agentv1.ManagerMessage) error {
	select {
	case <-l.over:
		return fmt.Errorf("the conversation is over: %w", errOr(l.reason, io.EOF))
	default:
	}
	select {
	case l.queue <- msg:
		return nil
	default:
		l.Close(errQueueFull)
		return errQueueFull
	}
}

func (l *link) Close(reason error) {
	l.once.Do(func() {
		l.reason = reason
		// A writer that the agent does not let go on ends by this. Before over is
		// closed the handler is still there, so control may be used.
		_ = l.control.SetWriteDeadline(l.now().Add(flushTimeout))
		close(l.over)
	})
}

// write sends what is queued until the link is over and the queue empty, or
// sending fails.
func (l *link) write(say func(*agentv1.ManagerMessage) error) {
	send := WhileLeading(l.leads, say)
	for {
		select {
		case msg := <-l.queue:
			if err := send(msg); err != nil {
				l.Close(err)
				return
			}
		case <-l.over:
			for {
				select {
				case msg := <-l.queue:
					if send(msg) != nil {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// WhileLeading says nothing once this manager leads no more: what was queued before
// its process stood still is not for it to say any more.
func WhileLeading(leads func() bool, say func(*agentv1.ManagerMessage) error) func(*agentv1.ManagerMessage) error {
	return func(msg *agentv1.ManagerMessage) error {
		if !leads() {
			return errNotLeading
		}
		return say(msg)
	}
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
