package virt

import (
	"errors"
	"fmt"
)

// Kind is what an error means to a caller. The predicates below are how to ask.
type Kind string

// The kinds of error. Timeout and NotConnected leave the outcome unknown; all
// others are an answer.
const (
	KindNoDomain         Kind = "no such domain"
	KindNotConnected     Kind = "not connected"
	KindTimeout          Kind = "timeout"
	KindAlreadyRunning   Kind = "already running"
	KindOperationInvalid Kind = "operation invalid"
	KindAborted          Kind = "aborted"
	KindNotAsExpected    Kind = "not as expected"
	KindUnsupported      Kind = "unsupported"
	KindRefused          Kind = "refused" // whatever else libvirt said no to
)

// Error is a failed call. Message is libvirt's own where there is one.
type Error struct {
	Op      string // what was tried: "migrate", "resume", …
	On      string // on which UUID, name or URI
	Kind    Kind
	Code    int // libvirt's VIR_ERR_ number; 0 when the error is not libvirt's
	Message string
	Err     error
}

func (e *Error) Error() string {
	on := ""
	if e.On != "" {
		on = " " + e.On
	}
	if e.Message == "" {
		return fmt.Sprintf("libvirt: %s%s: %s", e.Op, on, e.Kind)
	}
	return fmt.Sprintf("libvirt: %s%s: %s", e.Op, on, e.Message)
}

// Unwrap gives the cause, such as context.DeadlineExceeded.
func (e *Error) Unwrap() error { return e.Err }

// IsNoDomain reports that the host knows no such domain.
func IsNoDomain(err error) bool { return is(err, KindNoDomain) }

// IsNotConnected reports that this connection is closed or broke during the
// call. What a migration says of its own connection to the target is IsRefused.
func IsNotConnected(err error) bool { return is(err, KindNotConnected) }

// IsTimeout reports that nobody waited any longer; the call may still take
// effect.
func IsTimeout(err error) bool { return is(err, KindTimeout) }

// IsAlreadyRunning reports a resume of a running domain or a start of an
// active one.
func IsAlreadyRunning(err error) bool { return is(err, KindAlreadyRunning) }

// IsOperationInvalid reports that the domain's state does not allow it; true
// for IsAlreadyRunning too.
func IsOperationInvalid(err error) bool {
	return is(err, KindOperationInvalid) || is(err, KindAlreadyRunning)
}

// IsAborted reports that the job was ended by AbortJob.
func IsAborted(err error) bool { return is(err, KindAborted) }

// IsNotAsExpected reports that Expect was not met and nothing was done.
func IsNotAsExpected(err error) bool { return is(err, KindNotAsExpected) }

// IsUnsupported reports what this connection or host can't do.
func IsUnsupported(err error) bool { return is(err, KindUnsupported) }

// IsRefused reports that libvirt answered no, whatever the reason: nothing of
// this call is under way. Message gives its words.
func IsRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && !OutcomeUnknown(err)
}

// OutcomeUnknown reports an error after which the call may still take effect,
// or may have: look before acting.
func OutcomeUnknown(err error) bool { return IsTimeout(err) || IsNotConnected(err) }

// Message gives libvirt's words without what was tried, or the whole text of
// an error that is not libvirt's.
func Message(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func is(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

func notAsExpected(uuid, what string, have, want any) error {
	return &Error{Op: "check", On: uuid, Kind: KindNotAsExpected,
		Message: fmt.Sprintf("%s is %v, expected %v", what, have, want)}
}
