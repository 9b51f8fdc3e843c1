package etcdtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and a node, and can be told to keep things back.
type Proxy struct {
	target   string
	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
	deaf     bool // what the node says is not passed on
	cut      bool // nothing passes, and nobody is told
	wg       sync.WaitGroup
}

// NewProxy listens in front of an address until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Reset()
		p.wg.Wait()
	})
	return p
}

// Endpoint is the URL for clients.
func (p *Proxy) Endpoint() string { return "http://" + p.listener.Addr().String() }

// SwallowAnswers passes requests on and throws the answers away, from now on or
// no more. The connections that lost something are cut when it ends.
func (p *Proxy) SwallowAnswers(on bool) {
	p.mu.Lock()
	p.deaf = on
	p.mu.Unlock()
	if !on {
		p.Reset()
	}
}

// Partition lets nothing through in either direction, and breaks no connection
// until it ends.
func (p *Proxy) Partition(on bool) {
	p.mu.Lock()
	p.cut = on
	p.mu.Unlock()
	if !on {
		p.Reset()
	}
}

// Reset breaks all connections.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.wg.Go(func() { p.carry(in) })
	}
}

func (p *Proxy) carry(in net.Conn) {
	p.hold(in)
	defer p.release(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.hold(out)
	defer p.release(out)
	p.wg.Go(func() {
		defer in.Close()
		defer out.Close()
		p.copy(out, in, func() bool { return p.cut })
	})
	p.copy(in, out, func() bool { return p.cut || p.deaf })
}

func (p *Proxy) hold(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *Proxy) release(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// copy carries bytes; what is to be dropped is read and forgotten.
func (p *Proxy) copy(to io.Writer, from io.Reader, drop func() bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		dropped := drop()
		p.mu.Unlock()
		if n > 0 && !dropped {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
