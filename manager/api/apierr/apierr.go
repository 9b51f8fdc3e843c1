package apierr

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// Kind says what sort of no it is. The values travel.
type Kind string

const (
	Input       Kind = "input"       // the request itself is wrong
	NotFound    Kind = "not_found"   // what it names does not exist
	Permission  Kind = "permission"  // the caller's role or certificate does not allow it
	Claim       Kind = "claim"       // a claim stands against it
	Policy      Kind = "policy"      // the policy, a brake or the state of things stands against it
	Unavailable Kind = "unavailable" // not now: no leader, a full disk, an agent that is away
	Failed      Kind = "failed"      // it was tried and did not work
)

// Error is a no with its kind. Err, where set, is the cause; it is not sent.
type Error struct {
	Kind Kind
	Text string
	Err  error
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error; format and args as fmt.Errorf's, %w included.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Text: err.Error(), Err: errors.Unwrap(err)}
}

var codes = map[Kind]connect.Code{
	Input:       connect.CodeInvalidArgument,
	NotFound:    connect.CodeNotFound,
	Permission:  connect.CodePermissionDenied,
	Claim:       connect.CodeFailedPrecondition,
	Policy:      connect.CodeFailedPrecondition,
	Unavailable: connect.CodeUnavailable,
	Failed:      connect.CodeInternal,
}

// ToConnect makes what is sent of any error: an *Error becomes its code with a
// Refusal detail, a Connect error stays as it is, the end of the caller's
// context keeps its code, and everything else is Failed.
func ToConnect(err error) error {
	if err == nil {
		return nil
	}
	var ce *connect.Error
	if errors.As(err, &ce) {
		return ce
	}
	var e *Error
	if !errors.As(err, &e) {
		switch {
		case errors.Is(err, context.Canceled):
			return connect.NewError(connect.CodeCanceled, err)
		case errors.Is(err, context.DeadlineExceeded):
			return connect.NewError(connect.CodeDeadlineExceeded, err)
		}
		e = &Error{Kind: Failed}
	}
	// The whole chain's text: whoever wrapped the no said what was tried.
	ce = connect.NewError(codes[e.Kind], errors.New(err.Error()))
	if d, derr := connect.NewErrorDetail(&managerv1.Refusal{Kind: string(e.Kind), Text: err.Error()}); derr == nil {
		ce.AddDetail(d)
	}
	return ce
}

// FromConnect finds the *Error in what a call returned. The manager was reached
// if and only if it finds one: an error that the transport made has no Refusal,
// and ok is false.
func FromConnect(err error) (e *Error, ok bool) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return nil, false
	}
	for _, d := range ce.Details() {
		m, derr := d.Value()
		if derr != nil {
			continue
		}
		if r, isRefusal := m.(*managerv1.Refusal); isRefusal {
			return &Error{Kind: Kind(r.GetKind()), Text: r.GetText(), Err: ce}, true
		}
	}
	return nil, false
}

// Exit codes of the programs, as far as an answer decides them.
const (
	ExitFailed      = 1
	ExitInput       = 2
	ExitUnreachable = 3
	ExitRefused     = 4
)

// ExitCode is the exit code for what a call to the manager returned: 0 for nil.
// A manager that answers "not now" was reached; one that nobody answered for,
// or whose certificate does not fit, was not.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	e, ok := FromConnect(err)
	if !ok {
		if connect.CodeOf(err) == connect.CodeUnavailable {
			return ExitUnreachable
		}
		return ExitFailed
	}
	switch e.Kind {
	case Input:
		return ExitInput
	case Permission, Claim, Policy:
		return ExitRefused
	}
	return ExitFailed
}
