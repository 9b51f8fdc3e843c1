package migration

import "time"

// State is where a move stands. Values are stored and shown; they never change.
type State string

// The states of a move, in the order in which a good one passes them.
const (
	Planned    State = "planned"     // wanted; the claim is untouched, held by the source
	Claimed    State = "claimed"     // the claim says transferring; nobody has been told
	Preparing  State = "preparing"   // the target checks and reserves
	Running    State = "running"     // the source's libvirt copies
	Switching  State = "switching"   // the guest has stopped on the source, or is complete on the target
	Verifying  State = "verifying"   // the copying is over; waits for what one of the hosts has not said yet
	Committing State = "committing"  // the claim is the target's; resume, definitions, autostart
	Aborting   State = "aborting"    // somebody or something asked to stop; may still end in Done
	Done       State = "done"        // the guest is the target's
	RolledBack State = "rolled_back" // the guest is the source's as before
	Failed     State = "failed"      // the guest ended meanwhile; Outcome says how
	Unclear    State = "unclear"     // only a person can say where the guest should be
)

// Ended reports whether the move is over: its row changes no more. An Unclear
// move is not over, a later report may still decide it.
func (s State) Ended() bool { return s == Done || s == RolledBack || s == Failed }

// Switchover is how the guest begins to run on the target. It is chosen before the
// move starts, because libvirt cannot change it later. The empty value is Guarded.
type Switchover string

const (
	// Guarded keeps the copy paused until the source's process has exited.
	Guarded Switchover = "guarded"
	// Direct lets libvirt resume the copy itself.
	Direct Switchover = "direct"
)

// Row is the record of one attempt to move one domain. Its ID is the attempt's
// id; a retry is a new row.
type Row struct {
	ID         string
	Domain     string // UUID
	DomainName string
	Source     string
	Target     string
	Reason     string // why it is moved, in words
	Decision   string // id of the decision that wanted it, "" by hand
	State      State
	Switchover Switchover
	Epoch      uint64 // of the claim in transferring; 0 while planned
	SourceBoot string // boot id of the source when the claim was written

	Before  Before
	Options Options
	Steps   []Step

	AbortReason string // not "" when the move is to be given up if it still can be
	Outcome     string // why it ended as it did; not "" exactly when State.Ended
	Planned     time.Time
	Started     time.Time // transferring written
	Ended       time.Time

	Progress Progress
	Downtime Downtime
}

// Before is the guest as it was when the move was claimed: what must be the same
// on the target, or on the source again.
type Before struct {
	Paused      bool // by its owner; such a guest arrives paused and is never resumed by vireo
	Persistent  bool
	Autostart   bool
	MemoryKiB   uint64
	XML         string // migratable XML of the running guest
	InactiveXML string // "" for a transient domain
}

// Options are what libvirt is told. The zero value is libvirt's default.
type Options struct {
	Bandwidth    uint64        // bytes per second, 0 for no limit
	MaxDowntime  time.Duration // the longest pause to aim at; 0 for QEMU's default, 300 ms
	AutoConverge bool
	PostCopy     bool
	Parallel     int // connections; 0 or 1: one
	CopyDisks    []string
	Timeout      time.Duration // after which the move is given up; 0: never
}

// Step is one thing that was done or seen, with its time.
type Step struct {
	At     time.Time
	Name   string
	Detail string
}

// Progress is what libvirt last said of the copying, at the time At. Amounts are
// in bytes, rates in bytes per second.
type Progress struct {
	DataTotal, DataProcessed, DataRemaining uint64
	BytesPerSecond                          uint64
	DirtyBytesPerSecond                     uint64
	Iteration                               uint64
	At                                      time.Time
}

// Downtime is how long the guest did not run, and the shares that sum up to it.
// A share that was not seen is 0.
type Downtime struct {
	Switch     time.Duration // stopped on the source → complete on the target
	SourceExit time.Duration // complete → the source's process gone
	Handover   time.Duration // both known → running on the target
	Total      time.Duration
}
