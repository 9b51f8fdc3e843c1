package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// redial is the least distance between two tries to open a session; the Dialer
// has its own backoff on top.
const redial = 100 * time.Millisecond

// keepSession holds one session after another.
func (a *Agent) keepSession(ctx context.Context) {
	was := "" // what was logged: a manager that stays away is one line
	for ctx.Err() == nil {
		hello := make(chan *agentv1.Hello, 1)
		a.inbox.post(func(c *Core, _ time.Time) { hello <- c.Hello() })
		var h *agentv1.Hello
		select {
		case h = <-hello:
		case <-ctx.Done():
			return
		}
		s, err := a.deps.Dial(ctx, h)
		if err == nil {
			was = ""
			err = a.converse(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		if now := fmt.Sprint(err); now != was {
			a.deps.Log.Warn("no session with the manager, trying on", "error", err)
			was = now
		}
		a.wait(ctx, redial, nil)
	}
}

// converse is one session, from its welcome to its end.
func (a *Agent) converse(ctx context.Context, s Session) error {
	defer context.AfterFunc(ctx, s.Close)()
	first, err := s.Recv()
	if err != nil {
		s.Close()
		return err
	}
	out := newMailbox()
	var sender sync.WaitGroup
	sender.Go(func() { out.deliver(s) })
	defer func() {
		s.Close() // ends a Send that blocks
		out.close()
		sender.Wait()
	}()

	opened := make(chan error, 1)
	a.inbox.post(func(c *Core, now time.Time) {
		before := a.out
		a.out = out
		err := c.Opened(first.GetWelcome(), now)
		if err != nil {
			a.out = before
		}
		opened <- err
	})
	select {
	case err = <-opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	a.deps.Log.Info("session", "session", first.GetWelcome().GetSession(),
		"generation", first.GetWelcome().GetGeneration(), "term", first.GetWelcome().GetTerm())
	for {
		m, err := s.Recv()
		if err != nil {
			a.inbox.post(func(c *Core, now time.Time) {
				if a.out == out {
					a.out = nil
					c.Closed(now)
				}
			})
			return err
		}
		a.inbox.post(func(c *Core, now time.Time) {
			if a.out == out {
				c.Received(m, now)
			}
		})
	}
}

// mailboxFull is how many messages may wait for a manager that does not take
// them; then the session is given up.
const mailboxFull = 100_000

// mailbox queues what the loop sends, so that a slow manager never stops it.
type mailbox struct {
	mu     sync.Mutex
	all    []*agentv1.AgentMessage
	closed bool
	ready  chan struct{} // one slot
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

func (b *mailbox) put(m *agentv1.AgentMessage) {
	b.mu.Lock()
	b.all = append(b.all, m)
	b.mu.Unlock()
	b.poke()
}

func (b *mailbox) poke() {
	select {
	case b.ready <- struct{}{}:
	default: // the sender knows
	}
}

func (b *mailbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.poke()
}

// deliver sends what is put until the mailbox is closed; when sending fails, or
// too much waits, it closes the session.
func (b *mailbox) deliver(s Session) {
	for range b.ready {
		b.mu.Lock()
		all, closed := b.all, b.closed
		b.all = nil
		b.mu.Unlock()
		if closed {
			return
		}
		for i, m := range all {
			b.mu.Lock()
			full := len(b.all)+len(all)-i > mailboxFull
			b.mu.Unlock()
			if full || s.Send(m) != nil {
				s.Close()
				b.drain()
				return
			}
		}
	}
}

// drain drops what is put until the mailbox is closed.
func (b *mailbox) drain() {
	for range b.ready {
		b.mu.Lock()
		b.all = nil
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return
		}
	}
}
