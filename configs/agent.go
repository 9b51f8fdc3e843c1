package configs

import (
	_ "embed" // the annotated file
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AgentPath is where vireo-agent reads its configuration unless it is told otherwise.
const AgentPath = "/etc/vireo/agent.toml"

// AgentTOML is the annotated agent.toml: every key, with its default.
//
//go:embed agent.toml
var AgentTOML []byte

// Agent is the configuration of vireo-agent.
type Agent struct {
	Manager        URLs           `toml:"manager"`         // URL of the manager, or of several
	Host           string         `toml:"host"`            // name to enrol as; empty: the machine's host name
	StateDir       string         `toml:"state_dir"`       // holds a copy of the journal
	RunDir         string         `toml:"run_dir"`         // holds the socket and the journal; must not outlive a boot
	PKIDir         string         `toml:"pki_dir"`         // holds the CA's certificate, and the agent's certificate and key
	ReportInterval Duration       `toml:"report_interval"` // at most so long between two reports
	SmartInterval  Duration       `toml:"smart_interval"`  // between two looks at the drives
	SmartTimeout   Duration       `toml:"smart_timeout"`   // for one call of smartctl
	Smartctl       string         `toml:"smartctl"`        // the program
	ExemptDomains  []string       `toml:"exempt_domains"`  // names of domains that need no permission to start
	Log            Log            `toml:"log"`
	Libvirt        Libvirt        `toml:"libvirt"`
	Migration      AgentMigration `toml:"migration"`
	Roots          Roots          `toml:"roots"`
	Hook           Hook           `toml:"hook"`
}

// Libvirt says which libvirt the agent looks after.
type Libvirt struct {
	URI string `toml:"uri"`
}

// AgentMigration says how the libvirts reach each other. {host} stands for the target's name.
type AgentMigration struct {
	PeerURI string `toml:"peer_uri"` // the target's libvirtd, as seen from the source's
	URI     string `toml:"uri"`      // where the stream goes; empty: libvirt's choice
}

// Roots says where the collectors read, so that a test can show them another machine.
type Roots struct {
	Proc   string `toml:"proc"`
	Sys    string `toml:"sys"`
	Dev    string `toml:"dev"`
	Kmsg   string `toml:"kmsg"`   // the kernel's log
	Mounts string `toml:"mounts"` // the mount table, in the format of /proc/PID/mountinfo
}

// Hook says how libvirt's hook treats a start or an incoming migration that has no permission.
type Hook struct {
	Mode      HookMode  `toml:"mode"`
	AgentDown AgentDown `toml:"agent_down"`
	// Optimistic permits, while the manager is away, starts of domains whose disks
	// libvirt's lock manager protects.
	Optimistic bool `toml:"optimistic"`
}

// HookMode says what the hook does when permission is missing.
type HookMode string

// The modes of the hook.
const (
	HookObserve HookMode = "observe" // says what it would have refused
	HookEnforce HookMode = "enforce" // refuses
	HookOff     HookMode = "off"     // asks nobody
)

// AgentDown says what the hook allows by itself while the agent is dead.
type AgentDown string

// What the hook may do while the agent is dead.
const (
	AllowHeld AgentDown = "allow-held" // starts of domains whose claim was confirmed in this boot
	Refuse    AgentDown = "refuse"     // nothing
	Allow     AgentDown = "allow"      // every start
)

// DefaultAgent gives the configuration that an empty file means.
func DefaultAgent() Agent {
	return Agent{
		Manager:        URLs{"https://localhost:7443"},
		StateDir:       "/var/lib/vireo-agent",
		RunDir:         "/run/vireo-agent",
		PKIDir:         "/etc/vireo/pki",
		ReportInterval: Duration(5 * time.Second),
		SmartInterval:  Duration(10 * time.Minute),
		SmartTimeout:   Duration(30 * time.Second),
		Smartctl:       "/usr/sbin/smartctl",
		ExemptDomains:  []string{},
		Log:            Log{Level: "info", Format: "text"},
		Libvirt:        Libvirt{URI: "qemu:///system"},
		Migration:      AgentMigration{PeerURI: "qemu+tls://{host}/system"},
		Roots: Roots{
			Proc:   "/proc",
			Sys:    "/sys",
			Dev:    "/dev",
			Kmsg:   "/dev/kmsg",
			Mounts: "/proc/1/mountinfo",
		},
		Hook: Hook{Mode: HookObserve, AgentDown: AllowHeld},
	}
}

// LoadAgent reads agent.toml over the defaults and validates the outcome.
func LoadAgent(path string) (Agent, error) {
	cfg := DefaultAgent()
	err := load(path, &cfg)
	return cfg, err
}

// Validate reports every value that cannot work, as joined *Error.
func (a Agent) Validate() error { return validate(&a) }

// Socket is the path of the local socket, for the hook and local providers.
func (a Agent) Socket() string { return filepath.Join(a.RunDir, "agent.sock") }

// Journal is the path of the journal of claims, which ends with the boot.
func (a Agent) Journal() string { return filepath.Join(a.RunDir, "journal") }

// JournalCopy is the path of the journal's best-effort copy, which outlives the boot.
func (a Agent) JournalCopy() string { return filepath.Join(a.StateDir, "journal") }

// PeerURIOf gives the URI of another host's libvirtd.
func (m AgentMigration) PeerURIOf(host string) string {
	return forHost(m.PeerURI, host)
}

// URIOf gives the URI that a migration's stream to another host takes, or "" for libvirt's choice.
func (m AgentMigration) URIOf(host string) string {
	return forHost(m.URI, host)
}

func forHost(uri, host string) string { return strings.ReplaceAll(uri, "{host}", host) }

func (a *Agent) check(c *checks) {
	c.managerURLs("manager", a.Manager, false)
	if a.Host != "" {
		c.hostName("host", a.Host)
	}
	c.path("state_dir", a.StateDir)
	c.path("run_dir", a.RunDir)
	c.path("pki_dir", a.PKIDir)
	between(c, "report_interval", a.ReportInterval, Duration(100*time.Millisecond), Duration(time.Hour))
	between(c, "smart_interval", a.SmartInterval, Duration(100*time.Millisecond), day)
	between(c, "smart_timeout", a.SmartTimeout, Duration(100*time.Millisecond), Duration(time.Hour))
	c.path("smartctl", a.Smartctl)
	if i := slices.Index(a.ExemptDomains, ""); i >= 0 {
		c.fail("exempt_domains["+strconv.Itoa(i)+"]", "", "the name of a domain")
	}
	c.logs(a.Log)
	c.uri("libvirt.uri", a.Libvirt.URI, `a libvirt URI such as "qemu:///system"`)
	c.hostURI("migration.peer_uri", a.Migration.PeerURI, `a libvirt URI with {host} in it, such as "qemu+tls://{host}/system"`)
	if a.Migration.URI != "" {
		c.hostURI("migration.uri", a.Migration.URI, `a URI with {host} in it, such as "tcp://{host}.storage.example"`)
	}
	c.path("roots.proc", a.Roots.Proc)
	c.path("roots.sys", a.Roots.Sys)
	c.path("roots.dev", a.Roots.Dev)
	c.path("roots.kmsg", a.Roots.Kmsg)
	c.path("roots.mounts", a.Roots.Mounts)
	oneOf(c, "hook.mode", a.Hook.Mode, HookObserve, HookEnforce, HookOff)
	oneOf(c, "hook.agent_down", a.Hook.AgentDown, AllowHeld, Refuse, Allow)
}
