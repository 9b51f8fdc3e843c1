package serve

import (
	"context"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// Agents is the manager's core, as agents reach it. Its methods are called from
// many goroutines at once.
type Agents interface {
	// Enroll exchanges a join token for a certificate. Refusals are *apierr.Error.
	Enroll(ctx context.Context, req *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error)

	// Renew signs a later certificate for an enrolled host. Refusals are *apierr.Error.
	Renew(ctx context.Context, peer pki.Peer, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error)

	// Connect begins a conversation. The peer is what TLS has proved; whether
	// hello agrees with it, and whether it is the one live session of that host,
	// is the core's to judge. The core answers with a Welcome through link; a
	// refusal too is a Welcome, after which the core closes the link.
	//
	// An error ends the conversation at once and without a Welcome. After a nil
	// error Session.Closed is called exactly once.
	Connect(ctx context.Context, peer pki.Peer, hello *agentv1.Hello, link Link) (Session, error)
}

// Session is one conversation, as the core sees it. Received is called by one
// goroutine, in the order in which the messages came, and never after Closed.
// Received may block for a while: the agent is then held back by flow control.
type Session interface {
	Received(msg *agentv1.AgentMessage)
	// Closed says that the conversation is over, and why; nil when the agent
	// ended it in order.
	Closed(err error)
}

// Link is one conversation, as the transport offers it to the core. Both
// methods never block and may be called from any goroutine, also after Closed.
type Link interface {
	// Send queues a message. It fails when the conversation is over or the queue
	// is full, which ends the conversation: an agent that does not read what it
	// is sent learns it again in its next session.
	Send(msg *agentv1.ManagerMessage) error
	// Close ends the conversation after what is queued has been sent. The
	// reason, which may be nil, is told to the agent and to Session.Closed.
	Close(reason error)
}
