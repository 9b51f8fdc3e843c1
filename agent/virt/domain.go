package virt

import "slices"

// State is a domain's state in virsh's words.
type State string

// What virDomainGetState can say.
const (
	StateNone        State = "no state"
	StateRunning     State = "running"
	StateIdle        State = "idle"
	StatePaused      State = "paused"
	StateInShutdown  State = "in shutdown"
	StateShutOff     State = "shut off"
	StateCrashed     State = "crashed"
	StatePMSuspended State = "pmsuspended"
)

// Reason is why a domain is in its state, in virsh's words ("virsh domstate
// --reason"). Those that decide something here have a name.
type Reason string

// Reasons that the protocol of moves looks at.
const (
	ReasonUnknown           Reason = "unknown"
	ReasonBooted            Reason = "booted"
	ReasonUnpaused          Reason = "unpaused"
	ReasonMigrated          Reason = "migrated"
	ReasonMigrationCanceled Reason = "migration canceled"
	ReasonRestored          Reason = "restored"
	ReasonUser              Reason = "user"
	ReasonMigrating         Reason = "migrating"
	ReasonStartingUp        Reason = "starting up"
	ReasonPostCopy          Reason = "post-copy"
	ReasonPostCopyFailed    Reason = "post-copy failed"
	ReasonShutdown          Reason = "shutdown"
	ReasonDestroyed         Reason = "destroyed"
	ReasonCrashed           Reason = "crashed"
	ReasonSaved             Reason = "saved"
	ReasonFailed            Reason = "failed"
)

// Inactive is the libvirt id of a domain that has no process.
const Inactive = -1

// Domain is what a host shows of one domain.
type Domain struct {
	UUID  string
	Name  string
	Title string
	ID    int // libvirt's id, new with each process; Inactive when there is none
	State State
	// Reason belongs to State. A copy that a guarded move has completed and one
	// that its owner paused are both "paused (user)": Attempt tells them apart.
	Reason  Reason
	Job     Job
	Process Process // zero when there is none or it is on another machine

	Persistent  bool
	Autostart   bool
	ManagedSave bool

	// Attempt is the id of the move that brought this process here, from its
	// live XML; empty for one that was started here.
	Attempt string

	MaxMemoryKiB uint64
	MemoryKiB    uint64
	VCPUs        int
	CPUTimeNS    uint64 // used by the process so far; grows while it runs

	Config
}

// Config is what a domain's XML says about what it needs from a host.
type Config struct {
	Type     string // "kvm" or "qemu"
	Arch     string
	Machine  string // "pc-q35-7.2"
	Emulator string
	CPUMode  string // "custom", "host-model", "host-passthrough", "maximum" or empty
	CPUModel string
	Disks    []Disk
	NICs     []NIC
	Leases   []Lease
	// HostDevices are passed through to the guest and keep it where it is.
	HostDevices []string // "pci", "usb", "mdev", …, one entry per device
	NVRAM       string   // path of the UEFI variables; empty without
	TPM         string   // the backend's type; empty without
	Metadata    bool     // has <metadata> of somebody
}

// Running reports whether a process of the domain may execute vCPUs here: any
// state but paused, as long as there is a process.
func (d Domain) Running() bool { return d.Present() && d.State != StatePaused }

// Paused reports whether there is a process and its vCPUs stand still.
func (d Domain) Paused() bool { return d.Present() && d.State == StatePaused }

// Present reports whether there is a process, running or not.
func (d Domain) Present() bool { return d.ID != Inactive }

// PausedByMove reports whether a move left the source's copy stopped.
func (d Domain) PausedByMove() bool { return d.Paused() && d.Reason == ReasonMigrating }

// Disk is one disk of a domain.
type Disk struct {
	Target   string // "vda"
	Device   string // "disk", "cdrom", "floppy", "lun"
	Type     string // the source's type: "file", "block", "dir", "network", "volume", "nvme", "vhostuser"
	Format   string // "raw", "qcow2", …
	Source   string // the path for file, block and dir; POOL/VOLUME for volume; the name for network
	Protocol string // of a network disk: "nbd", "rbd", "iscsi", …
	Hosts    []string
	ReadOnly bool
	Shared   bool // <shareable/>: more than one domain may write it
}

// Empty reports a drive without a medium.
func (d Disk) Empty() bool { return d.Source == "" && d.Protocol == "" }

// NIC is one network interface of a domain.
type NIC struct {
	MAC     string
	Type    string // "network", "bridge", "direct", "user", …
	Network string // of type network
	Bridge  string // of type bridge, or what a network resolved to
	Device  string // the host's device of type direct
	Target  string // the tap's name; live XML only
	Filter  string // an nwfilter that must exist on the target
}

// Lease is an explicit <lease> of a domain.
type Lease struct {
	Lockspace, Key, Path string
}

// Expect is what a domain must look like for an order to be carried out.
type Expect struct {
	ID    int   // libvirt's id, always compared
	State State // always compared
	// Attempt must be the one in the live XML; empty is compared too: a process
	// that no move of ours brought has none.
	Attempt string
}

// Check says what is not as expected, nil when all is.
func (e Expect) Check(d Domain) error {
	switch {
	case d.ID != e.ID:
		return notAsExpected(d.UUID, "libvirt id", d.ID, e.ID)
	case d.State != e.State:
		return notAsExpected(d.UUID, "state", d.State, e.State)
	case d.Attempt != e.Attempt:
		return notAsExpected(d.UUID, "attempt", d.Attempt, e.Attempt)
	case d.Job.Active():
		return notAsExpected(d.UUID, "job", d.Job.Operation, "none")
	}
	return nil
}

// SortDomains orders by name, then UUID: the order every list here has.
func SortDomains(ds []Domain) {
	slices.SortFunc(ds, func(a, b Domain) int {
		if a.Name != b.Name {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}
		if a.UUID < b.UUID {
			return -1
		}
		return 1
	})
}
