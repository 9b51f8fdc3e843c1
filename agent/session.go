package agent

import (
	"context"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Session is one conversation with a manager. One goroutine calls Send, another
// one Recv; Close may come from anywhere, more than once, and ends both.
type Session interface {
	// Send hands one message to the transport, in order. An error ends the session.
	Send(*agentv1.AgentMessage) error
	// Recv blocks for the next message. The first one is Welcome; an error ends
	// the session.
	Recv() (*agentv1.ManagerMessage, error)
	Close()
}

// Dialer opens one session and says hello. It waits as long as its own backoff
// wants before it tries: the Agent calls it again as soon as a session has
// ended or an attempt has failed. The session outlives no ctx.
type Dialer func(ctx context.Context, hello *agentv1.Hello) (Session, error)

// Clock is the only source of time in this package.
type Clock interface {
	// Now carries a monotonic reading: windows and timeouts are counted on it.
	Now() time.Time
	// After sends once when d has passed; stop frees the timer.
	After(d time.Duration) (c <-chan time.Time, stop func())
}

// Collected is one sweep of the collectors.
type Collected struct {
	Readings []signal.Reading
	// Dependencies replaces what was known; nil leaves it as it is.
	Dependencies []*agentv1.Dependency
}

// Virsh runs the host's own virsh, read-only, from an allow-list. It says in
// the result's Error what it did not run; Id is the caller's to fill.
type Virsh func(ctx context.Context, args []string) *agentv1.VirshResult

// Memory says how much memory this host has left, in KiB (MemAvailable of
// /proc/meminfo).
type Memory func() (availableKiB uint64, err error)

// Watch tells when a process ends. gone is called once, inside the loop that
// owns the Core; also when the process had ended before. stop ends the watch.
type Watch interface {
	Exit(p virt.Process, gone func(now time.Time)) (stop func(), err error)
}

// Outbox takes what is to be sent to the manager: in order, without blocking.
// Without a session it drops; the report at the beginning of the next session
// says everything again.
type Outbox interface {
	Send(*agentv1.AgentMessage)
}
