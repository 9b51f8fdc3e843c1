package store

import "time"

// HostState is how the manager treats a host. Values are stored and shown; they
// never change.
type HostState string

const (
	Healthy     HostState = "healthy"
	Watch       HostState = "watch"       // looked at more closely
	Quarantined HostState = "quarantined" // takes nothing new
	Evacuating  HostState = "evacuating"  // preparing for shutdown: its guests leave
	Drained     HostState = "drained"     // empty, and takes nothing new
	Maintenance HostState = "maintenance" // an operator works on it
	Unknown     HostState = "unknown"     // silent, or not who it says it is
)

// Host is an enrolled host.
type Host struct {
	Name        string // as enrolled; the certificate is bound to it
	LibvirtUUID string // of the host itself, virConnectGetCapabilities host/uuid
	MachineID   string
	CertSerial  string // of the certificate it enrolled with, in hex
	Enrolled    time.Time
	Revoked     time.Time // not zero: it holds nothing and may not speak

	State         HostState
	StateReason   string // in words
	StateSince    time.Time
	StateDecision string // id of the decision that led to it, "" by hand or by silence

	Risk            Risk
	PreferredTarget string // where its guests should go first, "" for no preference

	BootID     string
	LastReport time.Time
	// Heard is the last generation in which it has reported completely, has
	// enrolled, or was excused by an operator. While it is older than the
	// store's for any host, the store is in recovery.
	Heard uint64
	// Dead: not zero from when a person has vouched for its death until its
	// agent speaks again. Nothing runs there, whatever was seen before.
	Dead  time.Time
	Facts Facts
}

// Facts are what the host's last complete report said about the host itself.
type Facts struct {
	MemoryKiB          uint64       `json:"memory_kib,omitempty"`
	MemoryAvailableKiB uint64       `json:"memory_available_kib,omitempty"` // free or reclaimable then
	CPUs               uint32       `json:"cpus,omitempty"`
	Arch               string       `json:"arch,omitempty"`
	CPUXML             string       `json:"cpu_xml,omitempty"` // libvirt's description, host/cpu of the capabilities
	MachineTypes       []string     `json:"machine_types,omitempty"`
	Bridges            []string     `json:"bridges,omitempty"`
	Networks           []string     `json:"networks,omitempty"`
	LibvirtVersion     string       `json:"libvirt_version,omitempty"`
	QEMUVersion        string       `json:"qemu_version,omitempty"`
	AgentVersion       string       `json:"agent_version,omitempty"`
	PeerURI            string       `json:"peer_uri,omitempty"`    // how other libvirts reach this one
	MigrateURI         string       `json:"migrate_uri,omitempty"` // where the migration stream arrives, "": libvirt's default
	HookMode           string       `json:"hook_mode,omitempty"`   // off, observe, enforce
	HookProven         bool         `json:"hook_proven,omitempty"` // the running libvirtd was seen to call it
	TakesNothing       bool         `json:"takes_nothing,omitempty"`
	Dependencies       []Dependency `json:"dependencies,omitempty"`
}

// Dependency says what needs a device of the host.
type Dependency struct {
	Component string `json:"component"` // disk:SERIAL, nic:NAME
	Kind      string `json:"kind"`      // root, swap, domain, bridge, mount
	Name      string `json:"name"`      // mount point, domain UUID, bridge
}

// Domain is a guest as its host last reported it.
type Domain struct {
	UUID        string
	Name        string
	Host        string
	State       string // running, paused, shut off, … as libvirt names it
	StateReason string
	MemoryKiB   uint64
	VCPUs       uint32
	Persistent  bool
	Autostart   bool
	Lockable    bool // a second run is refused by something below libvirt, as far as this host can tell
	Seen        time.Time
}
