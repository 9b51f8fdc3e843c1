package virt

// EventKind says which fields of an Event are set.
type EventKind string

// The kinds of event.
const (
	EventLifecycle EventKind = "lifecycle"     // Event, Detail
	EventJobDone   EventKind = "job-completed" // Job
	EventIteration EventKind = "iteration"     // Iteration
	// EventConnected and EventDisconnected bracket a connection's life as
	// Keeper sees it; a plain Conn sends Disconnected only, once, when the
	// connection broke (not after Close). Between the two, events are lost:
	// look at everything again.
	EventConnected    EventKind = "connected"
	EventDisconnected EventKind = "disconnected"
)

// Lifecycle events, as "virsh event" names them.
const (
	Defined     = "Defined"
	Undefined   = "Undefined"
	Started     = "Started"
	Suspended   = "Suspended"
	Resumed     = "Resumed"
	Stopped     = "Stopped"
	Shutdown    = "Shutdown"
	PMSuspended = "PMSuspended"
	Crashed     = "Crashed"
)

// Details of lifecycle events that the protocol of moves looks at.
const (
	DetailMigrated       = "Migrated"
	DetailPaused         = "Paused"
	DetailUnpaused       = "Unpaused"
	DetailBooted         = "Booted"
	DetailDestroyed      = "Destroyed"
	DetailCrashed        = "Crashed"
	DetailShutdown       = "Shutdown"
	DetailFailed         = "Failed"
	DetailRestored       = "Restored"
	DetailPostCopy       = "Post-copy"
	DetailPostCopyFailed = "Post-copy Error"
)

// Event is something that libvirtd said by itself.
type Event struct {
	Kind EventKind
	// Incarnation counts the connections of one Keeper from 1; 0 on a plain
	// Conn.
	Incarnation uint64
	UUID, Name  string
	Event       string // lifecycle: what happened
	Detail      string // lifecycle: how; "unknown" for a number without a name
	Iteration   int    // the pass over memory that begins, from 1
	Job         Job    // the job that ended, with its totals
	Reason      string // disconnected: why
}

// SuspendedByMove is the event after which a process that ends is gone by the
// move.
func (e Event) SuspendedByMove() bool {
	return e.Kind == EventLifecycle && e.Event == Suspended && e.Detail == DetailMigrated
}
