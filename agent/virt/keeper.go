package virt

import (
	"context"
	"sync"
	"time"
)

// Backoff between attempts to open a connection again.
const (
	reopenFirst = 250 * time.Millisecond
	reopenMost  = 10 * time.Second
)

// Keeper keeps one connection open across restarts of libvirtd. It has no
// goroutine and no clock: its owner calls Ensure from an executor, at each tick
// and at once after EventDisconnected.
//
// Conn gives the connection of now; one that was taken before a break stays
// broken, and its calls fail with IsNotConnected.
type Keeper struct {
	open Opener
	uri  string
	sink Sink

	mu          sync.Mutex // guards all below; never held while the sink is called
	conn        Conn
	incarnation uint64
	opening     bool
	closed      bool
	wait        time.Duration
	next        time.Time
}

// NewKeeper returns a Keeper that has opened nothing yet.
func NewKeeper(open Opener, uri string, sink Sink) *Keeper {
	if sink == nil {
		sink = func(Event) {}
	}
	return &Keeper{open: open, uri: uri, sink: sink}
}

// Ensure opens the connection if there is none and the backoff has passed, and
// sends EventConnected when it did. nil means that there is a connection. now
// should be monotonic.
func (k *Keeper) Ensure(ctx context.Context, now time.Time) error {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return k.notConnected("closed")
	}
	if k.conn != nil && k.conn.Alive() {
		k.mu.Unlock()
		return nil
	}
	if k.opening || now.Before(k.next) {
		k.mu.Unlock()
		return k.notConnected("waiting before the next try")
	}
	old := k.conn
	k.conn = nil
	k.opening = true
	k.incarnation++
	incarnation := k.incarnation
	k.mu.Unlock()

	if old != nil {
		_ = old.Close() // it is broken already
	}
	conn, err := k.open(ctx, k.uri, k.stamp(incarnation))

	k.mu.Lock()
	k.opening = false
	if err != nil {
		k.wait = min(max(2*k.wait, reopenFirst), reopenMost)
		k.next = now.Add(k.wait)
		k.mu.Unlock()
		return err
	}
	k.wait, k.next = 0, time.Time{}
	if k.closed {
		k.mu.Unlock()
		_ = conn.Close()
		return k.notConnected("closed")
	}
	k.conn = conn
	k.mu.Unlock()
	k.sink(Event{Kind: EventConnected, Incarnation: incarnation})
	return nil
}

// Conn returns the open connection and its incarnation, or IsNotConnected.
func (k *Keeper) Conn() (Conn, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil || !k.conn.Alive() {
		return nil, k.incarnation, k.notConnected("")
	}
	return k.conn, k.incarnation, nil
}

// Close closes the connection for good.
func (k *Keeper) Close() error {
	k.mu.Lock()
	k.closed = true
	conn := k.conn
	k.conn = nil
	k.mu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.Close()
}

func (k *Keeper) stamp(incarnation uint64) Sink {
	return func(e Event) {
		e.Incarnation = incarnation
		k.sink(e)
	}
}

func (k *Keeper) notConnected(why string) error {
	return &Error{Op: "open", On: k.uri, Kind: KindNotConnected, Message: why}
}
