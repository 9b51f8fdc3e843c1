package virt

import (
	"context"
	"time"
)

// Opener opens connections to a libvirtd. Events go to sink from before Open
// returns until Close returns; sink may be nil for a connection that is never
// asked for events (Barrier then does nothing useful). sink is called on the
// adapter's event thread, in libvirt's order, one at a time: it must not block
// and must not call the Conn.
type Opener func(ctx context.Context, uri string, sink Sink) (Conn, error)

// Sink takes events, see Opener.
type Sink func(Event)

// Conn is one connection to one libvirtd. All methods may be called from many
// goroutines at once. UUIDs are lower case with dashes.
type Conn interface {
	Inspector
	Mover
	Controller
	Preflight

	// Barrier returns after everything that libvirtd had sent as an event
	// before Barrier was called has been handed to the sink.
	Barrier(ctx context.Context) error
	// Alive reports whether the connection is open, keepalive included,
	// without asking libvirtd.
	Alive() bool
	// Close ends the connection; calls still under way fail with
	// IsNotConnected. Closing twice is harmless. A migration that was started
	// peer to peer goes on.
	Close() error
}

// Inspector reads what is true on a host.
type Inspector interface {
	Host(ctx context.Context) (HostInfo, error)
	// Domains returns every domain, active or not, or an error: never a part.
	// A domain that came or went while the list was made may be missing.
	Domains(ctx context.Context) ([]Domain, error)
	// Domain returns one domain; IsNoDomain when there is none.
	Domain(ctx context.Context, uuid string) (Domain, error)
	// Find returns the UUID of the domain with that name; IsNoDomain when the
	// name is free.
	Find(ctx context.Context, name string) (uuid string, err error)
	XML(ctx context.Context, uuid string, flags XMLFlags) (string, error)
	// Job returns the domain's current job; a zero Job with Type JobNone when
	// there is none or the domain is shut off.
	Job(ctx context.Context, uuid string) (Job, error)
	// LastJob returns what libvirt remembers of the job that ended last, with
	// its measured downtime. It is forgotten with the process on a source and
	// with libvirtd's restart; a zero Job then.
	LastJob(ctx context.Context, uuid string) (Job, error)
	// Process returns the domain's QEMU process. A zero Process and no error
	// mean that there is none, or that the connection is to another machine.
	Process(ctx context.Context, uuid string) (Process, error)
	// LoggedEnd returns why libvirt ended the last process of the domain with that
	// name, from the line that it writes to the domain's own log before it kills the
	// process, and that its own death does not take back. Empty when that process has
	// not been ended, when the log does not tell, and when the connection is to
	// another machine.
	LoggedEnd(ctx context.Context, name string) (Reason, error)
}

// Mover moves domains. What these calls answer is a hint: ownership moves on
// what both hosts show.
type Mover interface {
	// Migrate moves a domain peer to peer and blocks until libvirt's call
	// returns. A nil error says only that the target's libvirt gave a domain;
	// the source's copy may still be there, paused. The end of ctx leaves the
	// migration running (IsTimeout); to end it, call AbortJob. It returns
	// 200–250 ms after the guest has moved.
	Migrate(ctx context.Context, p MigrateParams) error
	// AbortJob ends any job of the domain, not only a migration: look at Job
	// before. IsOperationInvalid when there is none.
	AbortJob(ctx context.Context, uuid string) error
	// SetMaxDowntime takes 1 ms and more; the domain must be running here.
	SetMaxDowntime(ctx context.Context, uuid string, milliseconds uint64) error
	// SetBandwidth limits the running migration, in MiB/s, 1 and more.
	SetBandwidth(ctx context.Context, uuid string, mibPerSecond uint64) error
	// StartPostCopy switches a migration that was started with PostCopy. From
	// then on nothing may abort it.
	StartPostCopy(ctx context.Context, uuid string) error
}

// Controller changes domains on one host.
type Controller interface {
	// Resume lets a paused domain run. IsAlreadyRunning when it does. It may
	// wait 30 s for a job that is in its way.
	Resume(ctx context.Context, uuid string) error
	// ResumeIf is Resume, after a look at id, state and job just before;
	// IsNotAsExpected when they differ, and nothing was done. The attempt is
	// not read again: a process keeps it, and libvirt's id names the process.
	ResumeIf(ctx context.Context, uuid string, want Expect) error
	Suspend(ctx context.Context, uuid string) error
	// Destroy kills the domain's process if the domain is as expected, else
	// IsNotAsExpected. The look and the blow are two calls to libvirt: nobody
	// else may give orders for this domain between them.
	Destroy(ctx context.Context, uuid string, want Expect) error
	// Define stores a definition; one with the same UUID and name is replaced.
	Define(ctx context.Context, xml string) (uuid string, err error)
	Undefine(ctx context.Context, uuid string, opts UndefineOpts) error
	SetAutostart(ctx context.Context, uuid string, on bool) error
	// Start boots a shut-off domain. IsAlreadyRunning when it is active.
	Start(ctx context.Context, uuid string) error
	// StartXML boots a transient domain, or a defined one with other live XML.
	StartXML(ctx context.Context, xml string, paused bool) (uuid string, err error)
}

// Preflight answers what a target is asked before a domain is sent to it.
type Preflight interface {
	Networks(ctx context.Context) ([]Network, error)
	Pools(ctx context.Context) ([]Pool, error)
	// HasBridge says whether the host has a bridge of that name. Only for a
	// connection to this machine; IsUnsupported for others.
	HasBridge(ctx context.Context, name string) (bool, error)
	// CompareCPU says whether the host can run the <cpu> of that domain XML,
	// and if not, libvirt's reason. A domain without <cpu>, or with a mode
	// other than custom, is compatible as far as libvirt can say.
	CompareCPU(ctx context.Context, domainXML string) (compatible bool, reason string, err error)
}

// XMLFlags chooses which of a domain's XML documents is meant; the zero value
// is the live one of an active domain and the stored one of any other.
type XMLFlags struct {
	Inactive   bool // the persistent definition
	Migratable bool // fit for another host's libvirt
	Secure     bool // with passwords; needs a connection that may write
}

// UndefineOpts says what goes with a definition. Without the matching option
// libvirt refuses to undefine a domain that has NVRAM, a managed save image,
// snapshots' or checkpoints' metadata.
type UndefineOpts struct {
	KeepNVRAM   bool // leave the NVRAM file where it is
	RemoveNVRAM bool // remove the NVRAM file
	// ManagedSave also removes a managed save image: old memory that must not
	// meet newer disks.
	ManagedSave bool
	Snapshots   bool // also forget snapshots' metadata
	Checkpoints bool // also forget checkpoints' metadata
}

// Process names one process of this boot: a pid alone is used again.
type Process struct {
	PID       int
	StartTime uint64 // clock ticks since boot, field 22 of /proc/PID/stat
}

// Exits tells when a process ends, by a pidfd: at once, and without polling.
type Exits interface {
	// WatchExit calls gone once, from another thread, when the process has
	// ended; also when it had ended before, or the pid belongs to another
	// process by now. gone must not block. stop ends the watch; gone is not
	// called after stop has returned true.
	WatchExit(p Process, gone func()) (stop func() bool, err error)
}

// Network is a libvirt network.
type Network struct {
	Name, UUID string
	Active     bool
	Bridge     string // empty for a network without one
}

// Pool is a libvirt storage pool.
type Pool struct {
	Name, UUID string
	Active     bool
	Type       string // "dir", "logical", "netfs", …
	Path       string // its target path, where it has one
}

// HostInfo is what a libvirtd says of its host. It changes with libvirtd's
// restart at most, apart from LockManager and Hooks, which are read from files
// and hold from libvirtd's next restart on.
type HostInfo struct {
	UUID              string // libvirt's host UUID
	Hostname          string
	MemoryKiB         uint64
	CPUs              int // logical CPUs that are online
	Arch              string
	CPUModel          string   // the host CPU's nearest named model
	CPUFeatures       []string // what the host CPU has beyond the model
	HostModelXML      string   // the <cpu> that host-model would become; empty when libvirt can't say
	LibvirtVersion    Version
	HypervisorVersion Version
	Machines          []string // machine types, canonical and alias, of the host's architecture
	// LockManager is qemu.conf's lock_manager, "" for none. LockManagerKnown is
	// false when the file could not be read (a connection to another machine).
	LockManager      string
	LockManagerKnown bool
	// DaemonSince is when the process of this machine's libvirtd began, not later
	// than it did; zero when that could not be found out.
	DaemonSince time.Time
	// Hooks are the files that libvirtd would call as qemu hooks, by path.
	Hooks []string
}

// Version is a version as libvirt counts: 9000000 is 9.0.0.
type Version uint64
