package virt

import "fmt"

// MigrateParams describes one peer-to-peer live migration.
type MigrateParams struct {
	UUID string
	// DestURI is the target's libvirtd as the source's libvirtd reaches it.
	DestURI string
	// MigrateURI is where the stream goes ("tcp://10.0.0.2"); empty lets the
	// target's libvirtd choose by its host name.
	MigrateURI    string
	ListenAddress string // what the target's QEMU binds; empty: every address
	// DestXML is the live XML for the target, see DestXML (the function);
	// empty: the source's own. PersistXML is the same for the definition.
	DestXML    string
	PersistXML string

	// Guarded leaves the target's copy paused (VIR_MIGRATE_PAUSED) until
	// somebody resumes it. Not together with PostCopy; needed by CopyDisks.
	Guarded bool
	// Persist defines the domain on the target and undefines it on the source.
	// For a transient source: false.
	Persist bool

	// CopyDisks are the targets ("vda") whose content is copied; nil copies
	// none. The images must exist on the target.
	CopyDisks []string
	DisksPort int // the target's NBD port; 0 lets libvirt choose

	AutoConverge          bool
	AutoConvergeInitial   int // percent, 1–99; 0 is libvirt's default
	AutoConvergeIncrement int // percent, 1–99; 0 is libvirt's default
	PostCopy              bool
	Parallel              int    // parallel connections, 2 and more; 0 is one stream
	BandwidthMiBs         uint64 // MiB/s; 0 is no limit
	TLS                   bool   // encrypt the stream
	XBZRLE                bool
	// Unsafe lets libvirt move a guest whose disks it can't prove to be
	// coherent. Nobody but an operator may choose it.
	Unsafe bool
}

// Validate names the first thing that libvirt, or the protocol, would refuse;
// the error is IsRefused.
func (p MigrateParams) Validate() error {
	switch {
	case p.UUID == "":
		return p.bad("no domain")
	case p.DestURI == "":
		return p.bad("no target URI")
	case p.Guarded && p.PostCopy:
		return p.bad("a guarded move can't be post-copy: libvirt refuses PAUSED with POSTCOPY")
	case len(p.CopyDisks) > 0 && !p.Guarded:
		return p.bad("a move that copies disks must be guarded")
	case p.Parallel == 1 || p.Parallel < 0:
		return p.bad(fmt.Sprintf("parallel connections %d: want 0 for one stream, or 2 and more", p.Parallel))
	case p.Parallel > 1 && p.PostCopy:
		return p.bad("parallel connections can't be used with post-copy")
	case p.AutoConvergeInitial < 0 || p.AutoConvergeInitial > 99:
		return p.bad(fmt.Sprintf("auto-converge initial %d%%: want 1 to 99, or 0 for the default", p.AutoConvergeInitial))
	case p.AutoConvergeIncrement < 0 || p.AutoConvergeIncrement > 99:
		return p.bad(fmt.Sprintf("auto-converge increment %d%%: want 1 to 99, or 0 for the default", p.AutoConvergeIncrement))
	case !p.AutoConverge && (p.AutoConvergeInitial > 0 || p.AutoConvergeIncrement > 0):
		return p.bad("auto-converge values without auto-converge")
	}
	return nil
}

func (p MigrateParams) bad(why string) error {
	return &Error{Op: "migrate", On: p.UUID, Kind: KindRefused, Message: why}
}

// JobType is how a job stands.
type JobType string

// What virDomainGetJobStats can say.
const (
	JobNone      JobType = "none"
	JobBounded   JobType = "bounded"   // its end can be foretold
	JobUnbounded JobType = "unbounded" // its end can't
	JobCompleted JobType = "completed"
	JobFailed    JobType = "failed"
	JobCancelled JobType = "cancelled"
)

// Operation is what a job does, in virsh's words (without its capitals).
type Operation string

// Operations that the protocol of moves looks at.
const (
	OpUnknown   Operation = "unknown"
	OpMigrateIn Operation = "incoming migration"
	OpMigrate   Operation = "outgoing migration"
	OpStart     Operation = "start"
	OpSave      Operation = "save"
	OpRestore   Operation = "restore"
	OpDump      Operation = "dump"
	OpBackup    Operation = "backup"
)

// Job is one job of one domain: what it does and how far it is. Sizes are in
// bytes, times in milliseconds; 0 where libvirt does not say.
type Job struct {
	Type      JobType
	Operation Operation

	ElapsedMS  uint64
	DowntimeMS uint64 // expected while it runs, measured when it has completed
	SetupMS    uint64

	DataTotal     uint64 // memory and disks
	DataProcessed uint64
	DataRemaining uint64

	MemTotal     uint64
	MemProcessed uint64
	MemRemaining uint64
	MemBps       uint64 // bytes/s
	DirtyRate    uint64 // pages/s
	PageSize     uint64
	Iteration    uint64 // passes over memory
	Throttle     int    // auto-converge, percent
	PostCopyReqs uint64

	DiskTotal     uint64
	DiskProcessed uint64
	DiskRemaining uint64

	Error string // why it failed, where libvirt says so
}

// Active reports whether the job is under way. The zero Job is not.
func (j Job) Active() bool { return j.Type == JobBounded || j.Type == JobUnbounded }

// Migration reports a migration, coming or going.
func (j Job) Migration() bool {
	return j.Operation == OpMigrate || j.Operation == OpMigrateIn
}
