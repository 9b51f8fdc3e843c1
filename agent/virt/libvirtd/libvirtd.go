package libvirtd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Options say how to talk to a libvirtd. The zero value of a field is its
// default.
type Options struct {
	// CallTimeout bounds each call whose context has no deadline, Migrate
	// excepted. Default 15 s; a Resume may have to wait 30 s for a job, so
	// give it a context of its own.
	CallTimeout time.Duration
	// KeepAliveInterval and KeepAliveCount end a connection whose libvirtd has
	// not answered for about interval × (count + 1). Defaults 5 s and 3.
	KeepAliveInterval time.Duration // whole seconds
	KeepAliveCount    uint
	// JobTimeout is how long a domain may keep libvirtd from saying whether it has
	// a job; after that it counts as having one of which nothing is known.
	// Default 1 s.
	JobTimeout time.Duration
	// MaxCalls is how many calls of one connection may be waiting for libvirtd.
	// Default 64.
	MaxCalls int
	// Where the machine's own files are: QEMU's pids, processes, libvirt's
	// configuration, bridges and domains' logs. Defaults /run, /proc, /etc, /sys,
	// /var/log.
	RunRoot, ProcRoot, EtcRoot, SysRoot, LogRoot string
	Log                                          *slog.Logger // nil: none
}

func (o Options) withDefaults() Options {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	set(&o.RunRoot, "/run")
	set(&o.ProcRoot, "/proc")
	set(&o.EtcRoot, "/etc")
	set(&o.SysRoot, "/sys")
	set(&o.LogRoot, "/var/log")
	if o.CallTimeout == 0 {
		o.CallTimeout = 15 * time.Second
	}
	if o.JobTimeout == 0 {
		o.JobTimeout = time.Second
	}
	if o.KeepAliveInterval == 0 {
		o.KeepAliveInterval = 5 * time.Second
	}
	if o.KeepAliveCount == 0 {
		o.KeepAliveCount = 3
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = 64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// New returns a virt.Opener. The first one of a process starts libvirt's event
// loop.
func New(o Options) (virt.Opener, error) {
	o = o.withDefaults()
	if err := startLoop(o.Log); err != nil {
		return nil, fmt.Errorf("libvirt's event loop: %w", err)
	}
	return func(ctx context.Context, uri string, sink virt.Sink) (virt.Conn, error) {
		return open(ctx, o, uri, sink)
	}, nil
}

// conn is one connection. Handles of domains live no longer than the call that
// looked them up.
type conn struct {
	opts  Options
	uri   string
	local bool // the libvirtd is this machine's: its files may be read
	c     *libvirt.Connect

	sinkMu sync.Mutex // held while the sink is called, and to take it away
	sink   virt.Sink  // nil after Close

	mu        sync.Mutex
	closed    bool            // by Close
	broken    string          // why the connection ended otherwise; "" while it is open
	waiting   int             // calls that libvirt has not answered
	stuck     map[string]bool // domains whose job was asked for and not told, see current
	ended     chan struct{}
	callbacks []int

	lineMu sync.Mutex // guards line and its fields; may be taken with mu held, never the other way round
	line   *line
}

func open(ctx context.Context, o Options, uri string, sink virt.Sink) (virt.Conn, error) {
	ctx, cancel := bound(ctx, o.CallTimeout)
	defer cancel()
	c := &conn{opts: o, uri: uri, local: isLocal(uri), sink: sink, stuck: map[string]bool{}, ended: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- c.connect() }()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return c, nil
	case <-ctx.Done():
		go func() { // when it opens at last, nobody wants it any more
			if <-done == nil {
				_ = c.Close()
			}
		}()
		return nil, timeout("open", uri, ctx.Err())
	}
}

// connect opens the connection, then asks to hear of its end, then of events.
func (c *conn) connect() error {
	lv, err := libvirt.NewConnect(c.uri)
	if err != nil {
		e := translate("open", c.uri, err)
		e.Kind = virt.KindNotConnected
		return e
	}
	c.c = lv
	for _, step := range []func() error{
		func() error { return lv.RegisterCloseCallback(c.onClose) },
		func() error { return keepAlive(lv, c.opts) },
		c.register,
	} {
		if err := step(); err != nil {
			_ = c.Close()
			return translate("open", c.uri, err)
		}
	}
	return nil
}

// isLocal says whether a libvirt URI names this machine's libvirtd: it has no
// host.
func isLocal(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Host == ""
}

// onClose is libvirt saying that the connection broke.
func (c *conn) onClose(_ *libvirt.Connect, reason libvirt.ConnectCloseReason) {
	why := map[libvirt.ConnectCloseReason]string{
		libvirt.CONNECT_CLOSE_REASON_ERROR:     "error",
		libvirt.CONNECT_CLOSE_REASON_EOF:       "libvirtd closed it",
		libvirt.CONNECT_CLOSE_REASON_KEEPALIVE: "keepalive timeout",
		libvirt.CONNECT_CLOSE_REASON_CLIENT:    "closed here",
	}[reason]
	if why == "" {
		why = "unknown"
	}
	c.mu.Lock()
	first := c.broken == "" && !c.closed
	c.broken = why
	c.mu.Unlock()
	if first {
		c.emit(virt.Event{Kind: virt.EventDisconnected, Reason: why})
	}
}

func (c *conn) Alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && c.broken == ""
}

// Close lets go of the connection. libvirt's handle is freed when the last call
// has come back, which Close does not wait for.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	close(c.ended)
	idle := c.waiting == 0
	c.mu.Unlock()

	c.sinkMu.Lock() // no event after this
	c.sink = nil
	c.sinkMu.Unlock()
	if idle {
		c.free()
	}
	return nil
}

// free ends libvirt's side, in the background: libvirt says goodbye and waits
// for an answer.
func (c *conn) free() {
	go func() {
		c.lineMu.Lock()
		l := c.line
		c.lineMu.Unlock()
		if l != nil {
			c.retire(l)
		}
		for _, id := range c.callbacks {
			_ = c.c.DomainEventDeregister(id)
		}
		_ = c.c.UnregisterCloseCallback()
		if _, err := c.c.Close(); err != nil {
			c.opts.Log.Debug("close of a libvirt connection", "uri", c.uri, "reason", err)
		}
	}()
}

// enter counts a call in; the error says why there can be none.
func (c *conn) enter(op, on string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return &virt.Error{Op: op, On: on, Kind: virt.KindNotConnected, Message: "the connection is closed"}
	case c.broken != "":
		return &virt.Error{Op: op, On: on, Kind: virt.KindNotConnected, Message: "the connection broke: " + c.broken}
	case c.waiting >= c.opts.MaxCalls:
		return &virt.Error{Op: op, On: on, Kind: virt.KindRefused,
			Message: fmt.Sprintf("%d calls to this libvirtd wait for an answer already", c.waiting)}
	}
	c.waiting++
	return nil
}

// leave counts it out; the last one of a closed connection frees it.
func (c *conn) leave() {
	c.mu.Lock()
	c.waiting--
	last := c.closed && c.waiting == 0
	c.mu.Unlock()
	if last {
		c.free()
	}
}

// ask runs one call, or a few that belong together, and waits for it as long as
// ctx allows. do must touch nothing that it does not return: nobody may be
// waiting for it any more.
func ask[T any](ctx context.Context, c *conn, op, on string, do func(*libvirt.Connect) (T, error)) (T, error) {
	ctx, cancel := bound(ctx, c.opts.CallTimeout)
	defer cancel()
	return askLong(ctx, c, op, on, do)
}

// askLong is ask without a timeout of its own.
func askLong[T any](ctx context.Context, c *conn, op, on string, do func(*libvirt.Connect) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, &virt.Error{Op: op, On: on, Kind: virt.KindRefused, Message: "not sent: " + err.Error(), Err: err}
	}
	if err := c.enter(op, on); err != nil {
		return none, err
	}
	done := make(chan result, 1)
	go func() {
		v, err := do(c.c)
		if err != nil {
			err = explain(c.c, op, on, err)
		}
		c.leave()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return none, r.err
		}
		return r.v, nil
	case <-c.ended:
		return none, &virt.Error{Op: op, On: on, Kind: virt.KindNotConnected, Message: "the connection was closed during the call"}
	case <-ctx.Done():
		return none, timeout(op, on, ctx.Err())
	}
}

// tell is ask for calls that give nothing back.
func tell(ctx context.Context, c *conn, op, on string, do func(*libvirt.Connect) error) error {
	_, err := ask(ctx, c, op, on, func(lv *libvirt.Connect) (struct{}, error) { return struct{}{}, do(lv) })
	return err
}

// withDomain looks a domain up for the time of do.
func withDomain[T any](lv *libvirt.Connect, uuid string, do func(*libvirt.Domain) (T, error)) (T, error) {
	d, err := lv.LookupDomainByUUIDString(uuid)
	if err != nil {
		var none T
		return none, err
	}
	defer free(d)
	return do(d)
}

// order is tell about one domain.
func (c *conn) order(ctx context.Context, op, uuid string, do func(*libvirt.Domain) error) error {
	return tell(ctx, c, op, uuid, func(lv *libvirt.Connect) error {
		_, err := withDomain(lv, uuid, func(d *libvirt.Domain) (struct{}, error) { return struct{}{}, do(d) })
		return err
	})
}

func free(d *libvirt.Domain) { _ = d.Free() } // can only fail for a handle that is none

func bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func timeout(op, on string, cause error) *virt.Error {
	return &virt.Error{Op: op, On: on, Kind: virt.KindTimeout, Message: "no answer from libvirtd: " + cause.Error(), Err: cause}
}

// explain turns libvirt's error into ours; one that comes from the end of our
// own connection is IsNotConnected, whatever libvirt calls it.
func explain(lv *libvirt.Connect, op, on string, err error) error {
	var ours *virt.Error
	if errors.As(err, &ours) {
		return err
	}
	e := translate(op, on, err)
	if e.Kind == virt.KindRefused {
		if !alive(lv) {
			e.Kind = virt.KindNotConnected
		}
	}
	return e
}

func translate(op, on string, err error) *virt.Error {
	var lv libvirt.Error
	if !errors.As(err, &lv) {
		return &virt.Error{Op: op, On: on, Kind: virt.KindRefused, Message: err.Error(), Err: err}
	}
	e := &virt.Error{Op: op, On: on, Kind: virt.KindRefused, Code: int(lv.Code), Message: lv.Message, Err: err}
	switch lv.Code {
	case libvirt.ERR_NO_DOMAIN:
		e.Kind = virt.KindNoDomain
	case libvirt.ERR_OPERATION_INVALID:
		e.Kind = virt.KindOperationInvalid
	case libvirt.ERR_OPERATION_ABORTED:
		e.Kind = virt.KindAborted
	case libvirt.ERR_NO_SUPPORT, libvirt.ERR_OPERATION_UNSUPPORTED, libvirt.ERR_ARGUMENT_UNSUPPORTED:
		e.Kind = virt.KindUnsupported
	case libvirt.ERR_INVALID_CONN, libvirt.ERR_NO_CONNECT:
		e.Kind = virt.KindNotConnected
	}
	return e
}
