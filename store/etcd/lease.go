package etcd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// lease is a session of the election whose end is known here before it comes:
// it counts from before the last successful renewal was sent.
type lease struct {
	session *concurrency.Session
	c       *client
	ttl     time.Duration
	renewed atomic.Pointer[time.Time] // when the last successful renewal was sent
	over    chan struct{}             // closed when it has ended, or may have
	stop    context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
}

// margin of the lease is left to clocks that do not run alike.
const margin = 10 // a tenth

// newLease asks for a lease and keeps it until end is called.
func (c *client) newLease(ctx context.Context) (*lease, error) {
	seconds := int64((c.o.TTL + time.Second - 1) / time.Second)
	var sent time.Time
	granted, err := try(ctx, attempt, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		sent = time.Now()
		return c.etcd.Grant(ctx, seconds)
	})
	if err != nil {
		return nil, err
	}
	c.bequeath(granted.ID)
	lctx, stop := context.WithCancel(context.Background())
	session, err := concurrency.NewSession(c.etcd, concurrency.WithLease(granted.ID), concurrency.WithContext(lctx))
	if err != nil {
		stop()
		return nil, err
	}
	l := &lease{session: session, c: c, ttl: time.Duration(granted.TTL) * time.Second, over: make(chan struct{}), stop: stop}
	l.renewed.Store(&sent)
	l.wg.Go(func() { l.run(lctx) })
	return l, nil
}

// stands says whether etcd cannot have ended it yet.
func (l *lease) stands() bool {
	return !isClosed(l.over) && time.Since(*l.renewed.Load()) < l.ttl-l.ttl/margin
}

// run renews until the lease is over.
func (l *lease) run(ctx context.Context) {
	defer func() {
		close(l.over)
		// The session renews it too; nobody holds on to a lead that this manager
		// has given up.
		l.session.Orphan()
	}()
	for l.standsStill(ctx) {
		sent := time.Now()
		actx, cancel := context.WithTimeout(ctx, l.ttl/4)
		_, err := l.c.etcd.KeepAliveOnce(actx, l.session.Lease())
		cancel()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return
		}
		if err == nil {
			l.renewed.Store(&sent)
			_ = wait(ctx, l.ttl/6)
		} else {
			_ = wait(ctx, pause)
		}
	}
}

func (l *lease) standsStill(ctx context.Context) bool { return ctx.Err() == nil && l.stands() }

// end gives the lease back, so that nobody has to wait for its end.
func (l *lease) end() {
	l.once.Do(func() {
		l.stop()
		l.wg.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), attempt)
		defer cancel()
		_, _ = l.c.etcd.Revoke(ctx, l.session.Lease()) // it ends by itself
	})
}
