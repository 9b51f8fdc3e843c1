package apierr

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
)

func TestKindsCross(t *testing.T) {
	for kind, c := range map[Kind]struct {
		code connect.Code
		exit int
	}{
		Input:       {connect.CodeInvalidArgument, ExitInput},
		NotFound:    {connect.CodeNotFound, ExitFailed},
		Permission:  {connect.CodePermissionDenied, ExitRefused},
		Claim:       {connect.CodeFailedPrecondition, ExitRefused},
		Policy:      {connect.CodeFailedPrecondition, ExitRefused},
		Unavailable: {connect.CodeUnavailable, ExitFailed}, // the manager was reached
		Failed:      {connect.CodeInternal, ExitFailed},
	} {
		sent := ToConnect(fmt.Errorf("evacuate h1: %w", New(kind, "not %s", "now")))
		if got := connect.CodeOf(sent); got != c.code {
			t.Errorf("%s is sent as %s, want %s", kind, got, c.code)
		}
		e, ok := FromConnect(sent)
		if !ok || e.Kind != kind || e.Text != "evacuate h1: not now" {
			t.Errorf("%s came back as %v, %v", kind, e, ok)
		}
		if got := ExitCode(sent); got != c.exit {
			t.Errorf("%s: exit %d, want %d", kind, got, c.exit)
		}
	}
	if len(codes) != 7 {
		t.Error("a kind has no line here")
	}
}

func TestOtherErrors(t *testing.T) {
	cause := errors.New("disk full")
	e := New(Unavailable, "write: %w", cause)
	if !errors.Is(e, cause) || e.Error() != "write: disk full" {
		t.Errorf("%v hides its cause", e)
	}
	if ToConnect(nil) != nil || ExitCode(nil) != 0 {
		t.Error("nil is an error")
	}
	own := connect.NewError(connect.CodeUnimplemented, cause)
	if got := ToConnect(own); got != error(own) {
		t.Errorf("a Connect error became %v", got)
	}
	for err, code := range map[error]connect.Code{
		context.Canceled: connect.CodeCanceled, context.DeadlineExceeded: connect.CodeDeadlineExceeded, cause: connect.CodeInternal,
	} {
		if got := connect.CodeOf(ToConnect(err)); got != code {
			t.Errorf("%v is sent as %s", err, got)
		}
	}
	for err, code := range map[error]int{
		connect.NewError(connect.CodeUnavailable, cause): ExitUnreachable, connect.NewError(connect.CodeInternal, cause): ExitFailed, cause: ExitFailed,
	} {
		if got := ExitCode(err); got != code {
			t.Errorf("%v: exit %d, want %d", err, got, code)
		}
	}
	if _, ok := FromConnect(cause); ok {
		t.Error("a plain error came from the manager")
	}
}
