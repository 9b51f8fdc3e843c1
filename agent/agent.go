package agent

import (
	"log/slog"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Config is what an Agent is told about its host.
type Config struct {
	Host      string // the name under which the host is enrolled
	MachineID string // /etc/machine-id
	BootID    string // /proc/sys/kernel/random/boot_id
	Version   string // of the agent
	// LibvirtURI is the host's own libvirtd, PeerURI and MigrateURI are how
	// other hosts' libvirts reach it; empty: libvirt's default.
	LibvirtURI string
	PeerURI    string
	MigrateURI string
	// Journal is the file under the run directory, JournalCopy the best-effort
	// copy under the state directory; an empty JournalCopy keeps none.
	Journal     string
	JournalCopy string
	// ReportInterval is used until a manager has said its own.
	ReportInterval time.Duration
}

// Deps are the doors of an Agent to the world.
type Deps struct {
	Clock  Clock
	Dial   Dialer
	Open   virt.Opener // events on: the agent's own connections
	Exits  virt.Exits
	Virsh  Virsh  // nil refuses every request
	Memory Memory // nil: not known, and no target is refused for it
	Log    *slog.Logger
}
