package virttest

import (
	"context"
	"slices"
	"strings"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Opener opens connections for a process on host h: to its own libvirtd
// ("qemu:///system"), or to another host's ("qemu+tcp://NAME/system").
func (h *Host) Opener() virt.Opener {
	return func(ctx context.Context, uri string, sink virt.Sink) (virt.Conn, error) {
		f := h.f
		f.mu.Lock()
		defer f.mu.Unlock()
		to := f.resolve(h, uri)
		if to == nil {
			return nil, refused("open", uri, codeInternal, "unable to resolve the host name")
		}
		if f.cuts[link{h, to}] || !to.up || to.frozen {
			f.mu.Unlock()
			err := f.outwait(ctx, "open", uri, nil)
			f.mu.Lock()
			return nil, err
		}
		if !to.libvirtd {
			return nil, &virt.Error{Op: "open", On: uri, Kind: virt.KindNotConnected, Code: 38,
				Message: "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Connection refused"}
		}
		c := &conn{f: f, h: to, from: h, uri: uri, sink: sink, ended: make(chan struct{})}
		c.t = f.tie(h, to, func(reason string) { c.end(reason, true) })
		c.t.again = c.catchUp
		to.conns = append(to.conns, c)
		return c, nil
	}
}

// conn is a virt.Conn to one libvirtd of the fleet.
type conn struct {
	f       *Fleet
	h, from *Host
	uri     string
	sink    virt.Sink
	t       *tether
	held    []virt.Event // while the libvirtd is silent
	closed  bool
	reason  string
	ended   chan struct{} // closed when the connection is
}

func (c *conn) send(e virt.Event) {
	switch {
	case c.sink == nil || c.closed:
	case !c.t.answers():
		c.held = append(c.held, e)
	default:
		c.f.post(func() { c.sink(e) })
	}
}

func (c *conn) catchUp() {
	for _, e := range c.held {
		c.f.post(func() { c.sink(e) })
	}
	c.held = nil
}

// end closes the connection; tell says that the sink learns why.
func (c *conn) end(reason string, tell bool) {
	if c.closed {
		return
	}
	c.closed, c.reason, c.held = true, reason, nil
	c.t.release()
	c.h.conns = slices.DeleteFunc(c.h.conns, func(x *conn) bool { return x == c })
	close(c.ended)
	if tell && c.sink != nil {
		c.f.post(func() { c.sink(virt.Event{Kind: virt.EventDisconnected, Reason: reason}) })
	}
}

func (f *Fleet) connsFrom(h *Host) []*conn {
	var all []*conn
	for _, to := range f.hosts {
		for _, c := range to.conns {
			if c.from == h {
				all = append(all, c)
			}
		}
	}
	return all
}

// outwait blocks until ctx, the connection or the fleet's patience ends.
func (f *Fleet) outwait(ctx context.Context, op, on string, c *conn) error {
	timeout := &virt.Error{Op: op, On: on, Kind: virt.KindTimeout, Message: "no answer from libvirtd", Err: context.DeadlineExceeded}
	if f.unheard.fails {
		return timeout
	}
	var ended, late chan struct{}
	if c != nil {
		ended = c.ended
	}
	if f.unheard.patience > 0 {
		late = make(chan struct{})
		f.mu.Lock()
		f.after(f.unheard.patience, func() { close(late) })
		f.mu.Unlock()
	}
	select {
	case <-late:
		return timeout
	case <-ctx.Done():
		timeout.Err = ctx.Err()
		return timeout
	case <-ended:
		return c.gone(op, on)
	}
}

func (c *conn) gone(op, on string) error {
	return &virt.Error{Op: op, On: on, Kind: virt.KindNotConnected, Code: codeInternal,
		Message: "internal error: client socket is closed: " + c.reason}
}

// ask runs one call in libvirtd. A libvirtd that is silent when the call is
// made never answers it: the call is as good as lost, which is the worse of the
// two things that may really happen.
func (c *conn) ask(ctx context.Context, op, on string, do func() error) error {
	c.f.mu.Lock()
	if c.closed {
		c.f.mu.Unlock()
		return c.gone(op, on)
	}
	if !c.t.answers() {
		c.f.mu.Unlock()
		return c.f.outwait(ctx, op, on, c)
	}
	err := do()
	c.f.react()
	c.f.mu.Unlock()
	c.f.flush()
	return err
}

// on runs a call about one domain.
func (c *conn) on(ctx context.Context, op, uuid string, do func(*domain) error) error {
	return c.ask(ctx, op, uuid, func() error {
		d := c.h.domains[uuid]
		if d == nil {
			return noDomain(op, uuid)
		}
		return do(d)
	})
}

// active runs a call about a domain that has a process.
func (c *conn) active(ctx context.Context, op, uuid string, do func(*domain) error) error {
	return c.on(ctx, op, uuid, func(d *domain) error {
		if d.proc == nil {
			return invalid(op, uuid, "domain is not running")
		}
		return do(d)
	})
}

func (c *conn) Barrier(ctx context.Context) error {
	if err := c.ask(ctx, "barrier", c.uri, func() error { return nil }); err != nil {
		return err
	}
	c.f.barrier()
	return nil
}

func (c *conn) Alive() bool {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return !c.closed
}

func (c *conn) Close() error {
	c.f.mu.Lock()
	c.end("closed", false)
	c.f.mu.Unlock()
	c.f.flush()
	return nil
}

func (c *conn) Host(ctx context.Context) (info virt.HostInfo, err error) {
	err = c.ask(ctx, "host", c.uri, func() error {
		info = c.h.info
		info.Machines = slices.Clone(info.Machines)
		return nil
	})
	return info, err
}

func (c *conn) Domains(ctx context.Context) (all []virt.Domain, err error) {
	err = c.ask(ctx, "domains", c.uri, func() error {
		for _, d := range c.h.sorted() {
			v, err := c.see(d)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		virt.SortDomains(all)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (c *conn) Domain(ctx context.Context, uuid string) (v virt.Domain, err error) {
	err = c.on(ctx, "domain", uuid, func(d *domain) error {
		v, err = c.see(d)
		return err
	})
	return v, err
}

// see is view without what only a process of the same machine can know.
func (c *conn) see(d *domain) (virt.Domain, error) {
	v, err := d.view()
	if c.from != c.h {
		v.Process = virt.Process{}
	}
	return v, err
}

func (c *conn) Find(ctx context.Context, name string) (uuid string, err error) {
	err = c.ask(ctx, "find", name, func() error {
		d := c.h.byName(name)
		if d == nil {
			return noDomain("find", name)
		}
		uuid = d.uuid
		return nil
	})
	return uuid, err
}

func (c *conn) XML(ctx context.Context, uuid string, flags virt.XMLFlags) (xml string, err error) {
	err = c.on(ctx, "xml", uuid, func(d *domain) error {
		switch {
		case flags.Inactive && d.def != "", d.proc == nil:
			xml = d.def
		default:
			xml = d.proc.xml
		}
		return nil
	})
	return xml, err
}

func (c *conn) Job(ctx context.Context, uuid string) (j virt.Job, err error) {
	err = c.on(ctx, "job", uuid, func(d *domain) error {
		j = virt.Job{Type: virt.JobNone}
		if d.proc != nil && d.proc.job.Active() {
			j = d.proc.job
		}
		return nil
	})
	return j, err
}

func (c *conn) LastJob(ctx context.Context, uuid string) (j virt.Job, err error) {
	err = c.on(ctx, "job", uuid, func(d *domain) error {
		j = d.last
		if j.Type == "" {
			j.Type = virt.JobNone
		}
		return nil
	})
	return j, err
}

func (c *conn) LoggedEnd(ctx context.Context, name string) (r virt.Reason, err error) {
	err = c.ask(ctx, "log", name, func() error {
		if c.from == c.h {
			r = c.h.logged[name]
		}
		return nil
	})
	return r, err
}

func (c *conn) Process(ctx context.Context, uuid string) (p virt.Process, err error) {
	err = c.on(ctx, "process", uuid, func(d *domain) error {
		if d.proc != nil && c.from == c.h {
			p = d.proc.process
		}
		return nil
	})
	return p, err
}

func (c *conn) Networks(ctx context.Context) (all []virt.Network, err error) {
	err = c.ask(ctx, "networks", c.uri, func() error { all = slices.Clone(c.h.networks); return nil })
	return all, err
}

func (c *conn) Pools(ctx context.Context) (all []virt.Pool, err error) {
	err = c.ask(ctx, "pools", c.uri, func() error { all = slices.Clone(c.h.pools); return nil })
	return all, err
}

func (c *conn) HasBridge(ctx context.Context, name string) (has bool, err error) {
	if c.from != c.h {
		return false, &virt.Error{Op: "bridge", On: name, Kind: virt.KindUnsupported, Message: "the connection is to another machine"}
	}
	err = c.ask(ctx, "bridge", name, func() error { has = c.h.bridges[name]; return nil })
	return has, err
}

// CompareCPU knows one rule: a custom model must be the host's own or one that
// every host has.
func (c *conn) CompareCPU(ctx context.Context, domainXML string) (ok bool, reason string, err error) {
	v, err := virt.ParseDomain(domainXML)
	if err != nil {
		return false, "", refused("compare-cpu", "", codeXML, err.Error())
	}
	err = c.ask(ctx, "compare-cpu", v.UUID, func() error {
		ok = v.CPUMode != "custom" || v.CPUModel == c.h.info.CPUModel || strings.HasPrefix(v.CPUModel, "qemu") ||
			strings.HasPrefix(v.CPUModel, "kvm") || v.CPUModel == "Nehalem"
		if !ok {
			reason = "the CPU is incompatible with host CPU: Host CPU does not provide required features of model " + v.CPUModel
		}
		return nil
	})
	return ok, reason, err
}
