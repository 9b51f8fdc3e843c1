package serve

import (
	"context"
	"log/slog"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
)

// guard is the Connect interceptor that stands before every handler: it lets
// through who may call the procedure, and turns what comes back into what is
// sent. Here is the only place where access is decided.
type guard struct {
	log   *slog.Logger
	leads func() bool
}

func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		procedure := req.Spec().Procedure
		if err := admit(ctx, procedure); err != nil {
			return nil, g.answer(ctx, procedure, err)
		}
		res, err := next(ctx, req)
		if err != nil {
			return nil, g.answer(ctx, procedure, err)
		}
		if !g.leads() {
			return nil, notLeading("")
		}
		return res, nil
	}
}

func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		procedure := conn.Spec().Procedure
		if err := admit(ctx, procedure); err != nil {
			return g.answer(ctx, procedure, err)
		}
		return g.answer(ctx, procedure, next(ctx, conn))
	}
}

// WrapStreamingClient does nothing: the manager calls nobody.
func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func admit(ctx context.Context, procedure string) error {
	r, c := rules[procedure], callerFrom(ctx)
	switch {
	case r.anyone:
		return nil
	case c.nobody():
		return apierr.New(apierr.Permission, "%s needs a certificate of this manager's CA", procedure)
	case r.agent && c.peer != nil, r.role != "" && c.actor != nil && c.actor.Role.May(r.role):
		return nil
	case c.actor != nil && r.role != "":
		return apierr.New(apierr.Permission, "%s needs the role %s; %s is %s", procedure, r.role, c.actor.Name, c.actor.Role)
	case c.peer != nil && r.role != "":
		return apierr.New(apierr.Permission, "%s is for operators; this is the certificate of host %s", procedure, c.peer.Host)
	}
	return apierr.New(apierr.Permission, "%s is not for %s", procedure, c)
}

// answer turns an error into what is sent. What nobody meant to say to the
// caller is a fault of ours, and logged.
func (g guard) answer(ctx context.Context, procedure string, err error) error {
	sent := apierr.ToConnect(err)
	if sent != nil && connect.CodeOf(sent) == connect.CodeInternal {
		g.log.ErrorContext(ctx, "call failed", "procedure", procedure, "caller", callerFrom(ctx), "error", err)
	}
	return sent
}

// String names the caller for people.
func (c caller) String() string {
	switch {
	case c.actor != nil:
		return "operator " + c.actor.Name
	case c.peer != nil:
		return "host " + c.peer.Host
	}
	return "a caller without a certificate"
}
