package journal

import (
	"maps"
	"slices"
	"time"
)

// State is everything that a journal says.
type State struct {
	Host    Host
	Domains map[string]Domain // by UUID
}

// Host is what a journal says about the host itself.
type Host struct {
	BootID      string `json:"boot_id"`
	Name        string `json:"name"`
	LibvirtUUID string `json:"libvirt_host_uuid,omitempty"`
	MachineID   string `json:"machine_id,omitempty"`
	// The highest that this agent has seen; they outlive a boot.
	Generation   uint64 `json:"generation,omitempty"`
	Term         uint64 `json:"term,omitempty"`
	TakesNothing bool   `json:"takes_nothing,omitempty"`
	// Lost: something that was journaled in this boot is not there any more, and
	// what it may have been about may still be under way; see Restored.
	Lost bool `json:"lost,omitempty"`
	// HookMode is the hook's mode as this agent last ran with it: what the hook
	// goes by when nobody can read the configuration.
	HookMode string `json:"hook_mode,omitempty"`
}

// Phase is a claim's phase as the manager last said it. Empty: it said nothing,
// in this boot.
type Phase string

// The phases of a claim.
const (
	Held         Phase = "held"
	Transferring Phase = "transferring"
	Ambiguous    Phase = "ambiguous"
	Released     Phase = "released"
)

// Domain is what a journal says about one domain.
type Domain struct {
	UUID       string `json:"uuid"`
	Name       string `json:"name,omitempty"` // as last seen, for people
	Generation uint64 `json:"generation,omitempty"`
	Epoch      uint64 `json:"epoch,omitempty"`
	Phase      Phase  `json:"phase,omitempty"`
	// Confirmed: the manager said Held in this boot. Only then may the agent
	// act alone on it.
	Confirmed bool     `json:"confirmed,omitempty"`
	Attempt   *Attempt `json:"attempt,omitempty"`
	// Void are attempts that may never begin or go on here, other than Attempt.
	Void []Voided `json:"void,omitempty"`
	// Starts are permitted starts whose outcome libvirt has not shown yet.
	Starts []Start `json:"starts,omitempty"`
	// Unclaimed is the ground on which the process that is here was let start
	// without a claim; empty when it had one.
	Unclaimed Ground `json:"unclaimed,omitempty"`
	// Owed is when an autostart was refused because nothing was confirmed yet in
	// this boot: the agent makes up for it.
	Owed    time.Time `json:"owed,omitzero"`
	Changed time.Time `json:"changed,omitzero"` // wall time, when an order last changed the entry
}

// Voided is an attempt that has been given up, with the epoch of the order.
type Voided struct {
	Attempt string `json:"attempt"`
	Epoch   uint64 `json:"epoch"`
}

// Start is one permitted start of a domain.
type Start struct {
	At     time.Time `json:"at"`
	Ground Ground    `json:"ground,omitempty"` // empty: by its claim
}

// Ground is why a start was permitted without a claim.
type Ground string

// The grounds.
const (
	Exempt     Ground = "exempt"     // exempt_domains in the configuration
	Allowed    Ground = "allowed"    // by a person on the host
	Optimistic Ground = "optimistic" // the manager was away, libvirt's locks protect the domain
	AgentDown  Ground = "agent down" // the configuration allows every start then
	Observed   Ground = "observed"   // the hook only observes
)

// Role is a host's part in an attempt.
type Role string

// The two parts.
const (
	Source Role = "source"
	Target Role = "target"
)

// Stage is how far an attempt is on this host.
type Stage string

// The stages of an attempt. Void is for ever.
const (
	Prepared Stage = "prepared" // the target has checked and reserved
	Started  Stage = "started"  // the source is about to call libvirt, or has
	Ended    Stage = "ended"    // settled
	Void     Stage = "void"
)

// Attempt is one try to move the domain to or from this host.
type Attempt struct {
	ID        string     `json:"id"`
	Role      Role       `json:"role"`
	Stage     Stage      `json:"stage"`
	Departure *Departure `json:"departure,omitempty"` // on the source
	Arrival   *Arrival   `json:"arrival,omitempty"`   // on the target
}

// Call is the source's own migrate call.
type Call string

// What is known of the call. CallOut is written before the call is made.
const (
	CallOut   Call = "out"
	CallEnded Call = "ended"
)

// Gone is how the process that the source had at the beginning ended.
type Gone string

// How it ended. Empty: it has not, or that is being found out.
const (
	ByTheMove   Gone = "by the move"
	Otherwise   Gone = "otherwise"
	NobodyKnows Gone = "nobody knows"
)

// Departure is the source's side of an attempt.
type Departure struct {
	Target  string `json:"target"`
	PeerURI string `json:"peer_uri"`
	Guarded bool   `json:"guarded"`
	Process Proc   `json:"process"`
	// OwnerPaused: its owner had paused it before the move. It arrives paused
	// and nobody resumes it.
	OwnerPaused bool   `json:"owner_paused,omitempty"`
	Persistent  bool   `json:"persistent,omitempty"`
	Autostart   bool   `json:"autostart,omitempty"`
	Definition  string `json:"definition,omitempty"`
	// MaxDowntime is the longest pause that was ordered, in nanoseconds; 0 is QEMU's own.
	MaxDowntime time.Duration `json:"max_downtime,omitempty"`

	Call      Call   `json:"call,omitempty"`
	CallError string `json:"call_error,omitempty"`
	// Stopped: the last word was Suspended Migrated, and no Resumed since.
	Stopped   bool      `json:"stopped,omitempty"`
	StoppedAt time.Time `json:"stopped_at,omitzero"`
	// Destroying: the agent was ordered to destroy its stopped copy.
	Destroying bool      `json:"destroying,omitempty"`
	Gone       Gone      `json:"gone,omitempty"`
	GoneAt     time.Time `json:"gone_at,omitzero"`
	// Alone: while the manager was away, the agent began to resume the target's
	// copy over its own connection.
	Alone Alone `json:"alone,omitempty"`
}

// Alone is how far the source is with finishing the move by itself.
type Alone string

// AloneBegun is written before the target's copy is told to run. AloneNever means
// that others may have finished the move since, see State.Doubt.
const (
	AloneBegun Alone = "begun"
	AloneDone  Alone = "done"
	AloneNever Alone = "never"
)

// Finished says whether nothing of it is left to do for the source alone.
func (a Alone) Finished() bool { return a == AloneDone || a == AloneNever }

// Proc names the QEMU process that the source had when the attempt began.
type Proc struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks since boot
	LibvirtID int    `json:"libvirt_id"`
}

// Arrival is the target's side of an attempt.
type Arrival struct {
	Source    string `json:"source,omitempty"`
	Name      string `json:"name,omitempty"`
	MemoryKiB uint64 `json:"memory_kib,omitempty"` // reserved until the copy is here
	// StoodBefore: a definition was here before the attempt; it is not the
	// attempt's to remove. Unknown counts as true.
	StoodBefore bool `json:"stood_before,omitempty"`
	// ByHand: somebody's virsh brings it, with the leader's consent; its XML
	// carries not this attempt's id but Carries, that of the move by which vireo
	// last moved the process; empty if it never did. Admitted: the hook has let it
	// in, which it does once.
	ByHand   bool   `json:"by_hand,omitempty"`
	Carries  string `json:"carries,omitempty"`
	Admitted bool   `json:"admitted,omitempty"`
	// Complete: the memory was here and the guard kept the copy. Resumed: it
	// has run since, or somebody was told to let it.
	Complete   bool      `json:"complete,omitempty"`
	CompleteAt time.Time `json:"complete_at,omitzero"`
	Resumed    bool      `json:"resumed,omitempty"`
	ResumedAt  time.Time `json:"resumed_at,omitzero"`
}

// Clone returns a copy that shares nothing with d.
func (d Domain) Clone() Domain {
	d.Void = slices.Clone(d.Void)
	d.Starts = slices.Clone(d.Starts)
	if d.Attempt != nil {
		a := *d.Attempt
		if a.Departure != nil {
			dep := *a.Departure
			a.Departure = &dep
		}
		if a.Arrival != nil {
			arr := *a.Arrival
			a.Arrival = &arr
		}
		d.Attempt = &a
	}
	return d
}

// IsVoid says whether the attempt has been given up here.
func (d Domain) IsVoid(attempt string) bool {
	if d.Attempt != nil && d.Attempt.ID == attempt && d.Attempt.Stage == Void {
		return true
	}
	return slices.ContainsFunc(d.Void, func(v Voided) bool { return v.Attempt == attempt })
}

// Clone returns a copy that shares nothing with s.
func (s State) Clone() State {
	out := State{Host: s.Host, Domains: make(map[string]Domain, len(s.Domains))}
	for uuid, d := range s.Domains {
		out.Domains[uuid] = d.Clone()
	}
	return out
}

// UUIDs returns the domains' UUIDs, sorted.
func (s State) UUIDs() []string { return slices.Sorted(maps.Keys(s.Domains)) }

// Doubt returns what is left of s when it can't be trusted as permission: after
// a boot, or when the file was damaged. What forbids stays: generation, term,
// epochs, voids, takes nothing. What would permit goes: phases, confirmations,
// arrivals, and how a process ended.
//
// A departure stays known, because the call may still be out: within the same
// boot as if it were, after a boot as one whose process has gone with it. The
// source does not finish it alone any more: the copy that looks as the guard has
// left it may be the guest, moved long ago and paused by its owner.
func (s State) Doubt(sameBoot bool) State {
	out := s.Clone()
	for uuid, d := range out.Domains {
		d.Phase, d.Confirmed, d.Starts = "", false, nil
		if !sameBoot {
			d.Unclaimed, d.Owed = "", time.Time{}
		}
		a := d.Attempt
		if a != nil && a.Departure != nil {
			a.Departure.Alone = AloneNever
		}
		switch {
		case a == nil || a.Stage == Void:
		case a.Departure == nil:
			d.Attempt = nil
		case sameBoot && a.Stage == Started:
			a.Departure.Call, a.Departure.CallError = CallOut, ""
			a.Departure.Stopped, a.Departure.Destroying, a.Departure.Gone = false, false, ""
		case a.Stage == Started && a.Departure.Gone == "":
			a.Departure.Call, a.Departure.Gone = CallEnded, NobodyKnows
			a.Departure.Stopped = false
		}
		if sameBoot && d.Attempt != nil && d.Attempt.Stage == Started {
			d.Phase = Transferring
		}
		out.Domains[uuid] = d
	}
	return out
}
