package decide

import (
	"slices"
	"time"
)

// State is where a host stands. Values are stored and shown.
type State string

// The states of a host. Unknown is never stored as a host's own state: it is
// what is shown while nothing is heard, and what was before comes back with the
// next report.
const (
	Healthy     State = "healthy"
	Watch       State = "watch"
	Quarantined State = "quarantined" // takes nothing new
	Evacuating  State = "evacuating"  // preparing for shutdown
	Drained     State = "drained"
	Maintenance State = "maintenance"
	Unknown     State = "unknown"
)

// Snapshot is everything a decision may look at. Slices are sorted by name or
// id, so that equal worlds make equal JSON.
type Snapshot struct {
	At         time.Time `json:"at"`
	Automation bool      `json:"automation"` // the switch; false stops everything but what a person asks
	Hosts      []Host    `json:"hosts"`
	Domains    []Domain  `json:"domains"`
	// Acted are the hosts that automation acted upon, with the time of the decision.
	Acted []Acted `json:"acted,omitempty"`
}

// Acted is one host that was acted upon.
type Acted struct {
	Host string    `json:"host"`
	At   time.Time `json:"at"`
}

// Host is one host as the manager sees it now.
type Host struct {
	Name  string `json:"name"`
	State State  `json:"state"` // without Unknown: see Alive
	// Alive: a complete report with libvirtd's answer came lately. When false, AliveWhy says what is missing.
	Alive    bool   `json:"alive"`
	AliveWhy string `json:"alive_why,omitempty"`
	// TakesNothing: its agent has promised to take nothing new.
	TakesNothing bool `json:"takes_nothing,omitempty"`

	Risk    Risk     `json:"risk"`              // of what the whole host depends on
	Threats []Threat `json:"threats,omitempty"` // what threatens less than the whole host
	Hold    Hold     `json:"hold"`              // how long the score has been where it is

	MemoryKiB uint64 `json:"memory_kib"`
	// ClaimedKiB is the sum of what is claimed here, on its way here, or still reserved here.
	ClaimedKiB      uint64    `json:"claimed_kib"`
	Arch            string    `json:"arch,omitempty"`
	CPUXML          string    `json:"cpu_xml,omitempty"`
	MachineTypes    []string  `json:"machine_types,omitempty"`
	Bridges         []string  `json:"bridges,omitempty"`
	Networks        []string  `json:"networks,omitempty"`
	Present         []Present `json:"present,omitempty"` // every domain libvirt knows there
	PreferredTarget string    `json:"preferred_target,omitempty"`

	// Open is the newest decision about this host that still stands: waiting,
	// held back, acting, or rejected while its cause lasts.
	Open *OpenDecision `json:"open,omitempty"`
	// OpenThreats are those about single components, by component.
	OpenThreats map[string]OpenDecision `json:"open_threats,omitempty"`
}

// Present is a domain that a host's libvirt knows, running or only defined.
type Present struct {
	UUID   string   `json:"uuid"`
	Name   string   `json:"name"`
	Active bool     `json:"active,omitempty"`
	Disks  []string `json:"disks,omitempty"` // sources, sorted
}

// OpenDecision is a decision that still stands.
type OpenDecision struct {
	ID     string `json:"id"`
	Kind   Kind   `json:"kind"`
	Status Status `json:"status"`
	// Cause is what stood behind it; a rejected decision is not repeated for the same cause.
	Cause string `json:"cause,omitempty"`
	// Domains are those that a move_domains was about.
	Domains []string `json:"domains,omitempty"`
}

// Risk is a failure risk within 30 days and less, in percent, with its reasons.
type Risk struct {
	P24h    float64  `json:"p24h"`
	P7d     float64  `json:"p7d"`
	P30d    float64  `json:"p30d"`
	Low30d  float64  `json:"low30d"`
	High30d float64  `json:"high30d"`
	Grade   string   `json:"grade,omitempty"`
	Hard    bool     `json:"hard,omitempty"` // hard evidence stands
	Reasons []Reason `json:"reasons,omitempty"`
	Model   string   `json:"model,omitempty"`
	// Component is the one that makes most of it.
	Component string    `json:"component,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

// Reason is one part of a score or one piece of hard evidence, in words.
type Reason struct {
	Signal string    `json:"signal"`
	Text   string    `json:"text"`
	Value  *float64  `json:"value,omitempty"`
	Usual  string    `json:"usual,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Weight float64   `json:"weight,omitempty"` // part of the score's logit; 0 for hard evidence
}

// Threat is a component whose failure would not take the whole host.
type Threat struct {
	Component string   `json:"component"`
	Risk      Risk     `json:"risk"`
	Hold      Hold     `json:"hold"`
	Domains   []string `json:"domains,omitempty"` // UUIDs it would take along; none: a notice
	Impact    string   `json:"impact"`            // what depends on it, in words
}

// Domain is a guest that runs, or is claimed.
type Domain struct {
	UUID      string   `json:"uuid"`
	Name      string   `json:"name"`
	Host      string   `json:"host"` // the claim's holder
	MemoryKiB uint64   `json:"memory_kib"`
	Running   bool     `json:"running"` // a process is there: running, or paused by its owner
	Machine   string   `json:"machine,omitempty"`
	CPUXML    string   `json:"cpu_xml,omitempty"`
	Bridges   []string `json:"bridges,omitempty"`
	Networks  []string `json:"networks,omitempty"`
	Disks     []Disk   `json:"disks,omitempty"`
	Blockers  []string `json:"blockers,omitempty"` // from its agent: what a move would lose or what blocks it
	Phase     string   `json:"phase"`              // of its claim
	Moving    string   `json:"moving,omitempty"`   // id of its open migration
	// NotBefore: no new try by automation or retry before this; NotBeforeWhy says why.
	NotBefore    time.Time `json:"not_before,omitzero"`
	NotBeforeWhy string    `json:"not_before_why,omitempty"`
	// Refused are targets that cannot take it, as earlier moves have shown, and why.
	Refused map[string]string `json:"refused,omitempty"`
	// Forced is a host that a person wants for it, whatever its risk.
	Forced string `json:"forced,omitempty"`
}

// Disk is one disk of a domain.
type Disk struct {
	Target string `json:"target"`
	Source string `json:"source"`
	Local  bool   `json:"local,omitempty"` // on a local file system of its host
}

// running are those of some domains that are at work on a host, or leaving it.
func (s *Snapshot) running(host string, domains []string) []string {
	var out []string
	for _, d := range s.Domains {
		if d.Host == host && (d.Running || d.Moving != "") && slices.Contains(domains, d.UUID) {
			out = append(out, d.UUID)
		}
	}
	return out
}

// HostNamed finds a host.
func (s *Snapshot) HostNamed(name string) (*Host, bool) {
	for i := range s.Hosts {
		if s.Hosts[i].Name == name {
			return &s.Hosts[i], true
		}
	}
	return nil, false
}
