package serve

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/manager/pki"
)

// caller is who sends a request, as far as TLS or the socket prove it. At most
// one of the two is set.
type caller struct {
	peer  *pki.Peer
	actor *pki.Actor
}

func (c caller) nobody() bool { return c.peer == nil && c.actor == nil }

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerFrom(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// ActorFrom returns the operator on whose behalf a handler runs. Behind the
// interceptor there always is one; false only for a context from elsewhere.
func ActorFrom(ctx context.Context) (pki.Actor, bool) {
	if a := callerFrom(ctx).actor; a != nil {
		return *a, true
	}
	return pki.Actor{}, false
}

// WithActor makes a context as handlers get it, for callers inside the manager
// and for tests.
func WithActor(ctx context.Context, a pki.Actor) context.Context {
	return withCaller(ctx, caller{actor: &a})
}

// identify finds the caller of a request that came by TLS. The certificate has
// been verified by the handshake; that it has not been revoked since is checked
// with each request, because connections live long.
func identify(r *http.Request, revoked func(cert *x509.Certificate) bool) (caller, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return caller{}, nil
	}
	cert := r.TLS.PeerCertificates[0]
	if revoked(cert) {
		return caller{}, pki.ErrRevoked
	}
	peer, actor, err := pki.Identify(cert)
	return caller{peer: peer, actor: actor}, err
}

// socketContext is http.Server's ConnContext for the socket: root at the other
// end is an admin, everybody else nobody.
func socketContext(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil || cred.Uid != 0 {
		return ctx
	}
	return WithActor(ctx, pki.Actor{Name: "root", Role: pki.Admin})
}
