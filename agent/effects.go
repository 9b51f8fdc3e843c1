package agent

import (
	"errors"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Done takes the outcome of something that was done elsewhere. It is called
// once, inside the loop that owns the Core. Barrier's is called after every
// event that libvirt had sent before; an event may overtake any other outcome,
// or be overtaken by it.
type Done[T any] func(now time.Time, value T, err error)

// ErrNotCalled marks a migration that libvirt has not been asked for.
var ErrNotCalled = errors.New("libvirt was not called")

// Hands do what needs libvirt or the disk. No method blocks; the outcome comes
// through Done. Apart from Survey, which only reads, each is one call to
// libvirt: what has to be checked before is the Core's to check.
type Hands interface {
	// Facts reads what the host offers to guests.
	Facts(done Done[Facts])
	// List returns every domain, or an error: never a part.
	List(done Done[[]Seen])
	// Look returns one domain; virt.IsNoDomain when there is none.
	Look(uuid string, done Done[Seen])
	// Check is Look for an order that is being obeyed: nothing else delays it.
	Check(uuid string, done Done[Seen])
	XML(uuid string, flags virt.XMLFlags, done Done[string])
	// Survey reads what decides whether a domain can arrive here.
	Survey(q Question, done Done[Ground])
	// Barrier is done after every event that libvirtd had sent before has been
	// handed to the Core.
	Barrier(done Done[struct{}])
	// LoggedEnd is virt.Inspector's.
	LoggedEnd(name string, done Done[virt.Reason])

	// Migrate's outcome is errors.Is ErrNotCalled when the call was never made.
	Migrate(p virt.MigrateParams, done Done[struct{}])
	// LimitPause sets the pause that QEMU aims at for the last pass of the
	// migration under way. It has no outcome: a move whose limit could not be set
	// goes on with the one that it has.
	LimitPause(uuid string, limit time.Duration)
	AbortJob(uuid string, done Done[struct{}])
	Resume(uuid string, want virt.Expect, done Done[struct{}])
	Destroy(uuid string, want virt.Expect, done Done[struct{}])
	Define(xml string, done Done[struct{}])
	Undefine(uuid string, opts virt.UndefineOpts, done Done[struct{}])
	SetAutostart(uuid string, on bool, done Done[struct{}])
	// Start boots a shut-off domain; libvirt asks the hook about it as about any
	// other start.
	Start(uuid string, done Done[struct{}])
	// Probe tries whether the running libvirtd calls the hook; nil when it does.
	Probe(done Done[struct{}])

	// OpenPeer connects to the target's libvirt under the attempt's id, so that
	// the connection is there when the manager is not. It gives up after 5 s.
	OpenPeer(attempt, uri string, done Done[struct{}])
	LookPeer(attempt, uuid string, done Done[virt.Domain])
	ResumePeer(attempt, uuid string, done Done[struct{}])
	ClosePeer(attempt string)

	Virsh(args []string, done Done[*agentv1.VirshResult])
}

// Seen is a domain as libvirt shows it, with what the host's disks add.
type Seen struct {
	virt.Domain
	// CPUXML is the domain's cpu element as another host would get it; empty
	// without a process.
	CPUXML string
	// Local are the targets of disks that lie on a file system or device that
	// no other host can be expected to have.
	Local []string
}

// Facts is what a host offers to guests.
type Facts struct {
	virt.HostInfo
	Networks           []virt.Network
	Bridges            []string
	MemoryAvailableKiB uint64 // 0: not known
}

// Question is what a target has to be asked before a domain is sent to it.
type Question struct {
	UUID, Name string
	CPUXML     string   // empty: not asked
	Paths      []string // of disks that must be there
	Bridges    []string
}

// Ground is the answer to a Question.
type Ground struct {
	Facts
	Domain     *virt.Domain // with that UUID, if there is one
	NameOwner  string       // UUID of the domain that has the name; empty: free
	NoBridge   []string     // of those asked for
	NoPath     []string     // of those asked for
	CPUProblem string       // empty: the CPU can be had
}

// Journal is what the Core keeps; *journal.Journal.
type Journal interface {
	State() journal.State
	SetHost(journal.Host) error
	SetDomain(journal.Domain) error
	Forget(uuid string) error
	Tidy() error
	// Marks are what the hook has left beside the journal; see journal.Mark.
	Marks() ([]journal.Mark, error)
	MarkOf(uuid string) *journal.Mark
	TakeMark(uuid string) error
}
