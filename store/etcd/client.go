package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/vireo-kvm/vireo/store"
)

// The limits of one request. etcd's own defaults are 128 operations and 1.5 MiB.
const (
	maxOps   = 120
	maxBytes = 1 << 20
	maxValue = 1 << 20   // of one record
	partSize = 512 << 10 // of what is cut into parts
	overhead = 64        // bytes of an operation beside key and value, at most
	pageSize = 5000      // keys read at a time
)

const (
	// DefaultTTL is how long a leader that is not heard of still leads.
	DefaultTTL = 3 * time.Second
	// pageAttempt is the same for a page of records.
	pageAttempt = 10 * time.Second
	// attempt is how long one request may take before another node is asked.
	attempt = 750 * time.Millisecond
	// pause is between two attempts.
	pause = 50 * time.Millisecond

	dialKeepAlive        = 10 * time.Second // gRPC takes no less
	dialKeepAliveTimeout = 2 * time.Second
)

// DefaultPrefix is where the store's keys are unless it is told otherwise.
const DefaultPrefix = "/vireo/"

// Options say which etcd, and who is asking.
type Options struct {
	Endpoints []string // URLs of the nodes
	TLS       *tls.Config
	Prefix    string        // ends with a slash; "": DefaultPrefix
	Address   string        // where agents and operators reach this manager; told to those who ask a follower
	TTL       time.Duration // whole seconds; 0: DefaultTTL. etcd rounds what is below 2 s up
	// Memory is a file that remembers which store this manager works with. An
	// etcd that shows another one is refused. "": nothing is remembered.
	Memory string
	// Succeeds says that the process which used Memory before is dead: what is left
	// of its lease is ended at once, and nobody waits for it. Whoever says so
	// without proof makes two leaders for a moment, the older without the power to write.
	Succeeds bool
	// Renew accepts whatever store there is, or none, as this manager's from now
	// on, in a generation after the remembered one: etcd was restored or replaced.
	Renew bool
	Log   *slog.Logger
}

// Client is a connection to etcd that reads, follows and campaigns.
type Client struct{ c *client }

// client is what Client and DB share.
type client struct {
	o       Options
	etcd    *clientv3.Client
	cluster uint64 // id that etcd answers with
	store   string // id of the store; "" before there is one
}

// Connect finds etcd and checks that it holds what it held before. It fails with
// ErrForeign when another cluster or another store answers, ErrNewer when the
// store was written by a newer version. It waits for an answer until ctx ends.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	where := "etcd " + strings.Join(o.Endpoints, ", ")
	e, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: o.TLS, DialTimeout: attempt, DialKeepAliveTime: dialKeepAlive,
		DialKeepAliveTimeout: dialKeepAliveTimeout, PermitWithoutStream: true,
		MaxCallSendMsgSize: 2*maxBytes + maxOps*overhead, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(bounded),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: pause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: attempt},
				MinConnectTimeout: attempt,
			}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	c := &client{o: o, etcd: e}
	if err := c.meet(ctx); err != nil {
		_ = e.Close()
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return &Client{c}, nil
}

// bounded gives every request an end, also those that the election makes without one.
func bounded(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*attempt)
		defer cancel()
	}
	return next(ctx, method, req, reply, cc, opts...)
}

// Close ends the connection; a DB of it must be closed before.
func (c *Client) Close() error {
	err := c.c.etcd.Close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// key is the whole key in etcd.
func (c *client) key(k string) string { return c.o.Prefix + k }

// get reads one key as it is now, nil when there is none. It asks again until
// ctx ends or etcd refuses.
func (c *client) get(ctx context.Context, k string) (*mvccpb.KeyValue, error) {
	resp, err := try(ctx, attempt, func(ctx context.Context) (*clientv3.GetResponse, error) { return c.etcd.Get(ctx, c.key(k)) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k, err)
	}
	if err := c.same(resp.Header.ClusterId); err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	return resp.Kvs[0], nil
}

// readHead is the head as it is now, with its revision; 0 when there is none.
func (c *client) readHead(ctx context.Context) (head, int64, error) {
	kv, err := c.get(ctx, headKey)
	if err != nil || kv == nil {
		return head{}, 0, err
	}
	h, err := decodeHead(kv.Value)
	return h, kv.ModRevision, err
}

func decodeHead(b []byte) (head, error) {
	h, err := decode[head](headKey, b)
	if err == nil && h.Format > format {
		err = fmt.Errorf("format %d, this version knows %d: %w", h.Format, format, store.ErrNewer)
	}
	return h, err
}

// try calls f, with so much time each, until it succeeds, etcd says no, or ctx ends.
func try[T any](ctx context.Context, limit time.Duration, f func(ctx context.Context) (T, error)) (T, error) {
	for {
		actx, cancel := context.WithTimeout(ctx, limit)
		v, err := f(actx)
		cancel()
		if err == nil || !unsure(err) {
			return v, translate(err)
		}
		if wait(ctx, pause) != nil {
			return v, fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
	}
}

// wait waits, or returns ctx's error.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unsure says whether an error leaves open what happened and may pass: all but
// those that etcd's checks give.
func unsure(err error) bool {
	var e rpctypes.EtcdError
	for _, no := range []error{
		rpctypes.ErrNoSpace, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrCompacted, rpctypes.ErrDuplicateKey,
		rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrLeaseNotFound, rpctypes.ErrCorrupt,
	} {
		if errors.As(err, &e) && errors.Is(e, no) || errors.Is(err, no) {
			return false
		}
	}
	return true
}

// translate puts the store's error around etcd's.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	case errors.Is(err, rpctypes.ErrCorrupt):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}
