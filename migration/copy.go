package migration

// Side is one of the two hosts of a move.
type Side string

// The two sides. DESIGN.md and the tests call the source A and the target B.
const (
	Source Side = "source"
	Target Side = "target"
)

// Presence is what a host shows of the domain's process. A definition without a
// process is None.
type Presence string

const (
	// Unknown: the host is silent, its report is too old to count, or its libvirtd does not answer.
	Unknown Presence = ""
	// None: no process.
	None Presence = "none"
	// Alive: a process whose vCPUs may execute, or one in the state in which its owner had put it.
	Alive Presence = "alive"
	// Paused by the move or by the guard; Copy.Pause says by which.
	Paused Presence = "paused"
	// PostCopy: pages are fetched on demand; neither side is whole.
	PostCopy Presence = "postcopy"
)

// Pause is why a process is paused.
type Pause string

const (
	ByGuard Pause = "guard" // an incoming copy that has never run
	ByMove  Pause = "move"  // Suspended Migrated, and no Resumed after it
	ByOwner Pause = "owner" // somebody's virsh suspend
)

// Gone is how the process that the source had at the beginning ended.
type Gone string

const (
	GoneByMove      Gone = "by the move"      // it ended from stopped-by-the-move
	GoneOtherwise   Gone = "otherwise"        // its end was seen, and it was another
	GoneUnexplained Gone = "nobody knows how" // rebooted, or nobody was looking
)

// Call is the source's own migrate call for this attempt.
type Call string

const (
	NotCalled Call = ""
	CallOut   Call = "out"
	CallEnded Call = "ended" // started and returned, or void, or 40 s without a job after an agent's restart
)

// Copy is what one side last showed of the domain, as far as it counts as
// evidence. The zero Copy is a side of which nothing is known now.
type Copy struct {
	Presence Presence
	Pause    Pause // with Presence Paused
	Job      bool  // libvirt shows an active job
	Gone     Gone  // source, with Presence None
	Call     Call  // source
	Void     bool  // this side has journaled the attempt as void
	Prepared bool  // target: this side has journaled the attempt
	Complete bool  // target: the memory is here
	Moving   bool  // target: the CPU time of the copy has been seen to grow
	// Fresh: this picture was asked for after the other side's last word had
	// arrived. Only a fresh None is a none.
	Fresh bool
	// Settled: definition and autostart are as they must be on this side once
	// the claim is the target's.
	Settled bool
}

// forgottenCopy reports a complete paused copy whose agent has lost its journal:
// nobody can tell whether it has never run and the guard keeps it paused, or
// whether it has run and its owner paused it then.
func (c Copy) forgottenCopy() bool {
	return c.Presence == Paused && c.Pause == "" && c.Complete && !c.Job
}

// GuardedCopy reports a complete copy that has never run: the guard keeps it paused.
func (c Copy) GuardedCopy() bool {
	return c.Presence == Paused && c.Pause == ByGuard && c.Complete && !c.Job
}
