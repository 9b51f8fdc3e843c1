package decide

import "time"

// Kind says what a decision is about. Values are stored and shown.
type Kind string

// The kinds of decisions.
const (
	KindHealthy     Kind = "healthy"      // the risk is gone; the host takes guests again
	KindWatch       Kind = "watch"        // looked at more closely, a worse target
	KindQuarantine  Kind = "quarantine"   // takes nothing new
	KindEvacuate    Kind = "evacuate"     // all its domains leave
	KindMoveDomains Kind = "move_domains" // those leave that the failing component holds
	KindNotice      Kind = "notice"       // nothing needs the failing component; replace it
)

// Status says what became of a decision. Values are stored and shown.
type Status string

// The statuses of decisions.
const (
	Recorded   Status = "recorded"   // shadow mode: nothing follows
	Waiting    Status = "waiting"    // for a person's yes
	HeldBack   Status = "held_back"  // a brake holds it; a person may approve it all the same
	Approved   Status = "approved"   // a person said yes; it is about to act
	Rejected   Status = "rejected"   // a person said no
	Acting     Status = "acting"     // being done
	DoneStatus Status = "done"       // done; the summary or the resolution says how it ended
	Superseded Status = "superseded" // its cause is gone, or a later one took its place
)

// Stands says whether a decision is still an answer to its cause: while it
// stands, the same cause is not decided upon again.
func (s Status) Stands() bool {
	return s == Recorded || s == Waiting || s == HeldBack || s == Approved || s == Rejected || s == Acting
}

// Decision is one answer, with what it was made of.
type Decision struct {
	Host       string      `json:"host"`
	Kind       Kind        `json:"kind"`
	Status     Status      `json:"status"`
	Summary    string      `json:"summary"`
	Component  string      `json:"component,omitempty"` // of move_domains and notice
	Risk       Risk        `json:"risk"`
	Threshold  float64     `json:"threshold,omitempty"` // percent; 0 for hard evidence
	Cause      string      `json:"cause"`               // see OpenDecision.Cause
	State      State       `json:"state,omitempty"`     // the host's state from now on; "" leaves it
	Placements []Placement `json:"placements,omitempty"`
	// Supersedes is the id of the standing decision whose place this one takes.
	// A decision with Status Superseded and no Kind only ends that one.
	Supersedes string `json:"supersedes,omitempty"`
}

// Placement is where one domain goes, and why not elsewhere.
type Placement struct {
	Domain    string        `json:"domain"`
	Name      string        `json:"name"`
	Target    string        `json:"target,omitempty"` // "": cannot move now
	Why       string        `json:"why"`
	Rejected  []Rejection   `json:"rejected,omitempty"`
	MemoryKiB uint64        `json:"memory_kib"`
	Estimate  time.Duration `json:"estimate"`
	// Blocked: no target would help before its cause is gone.
	Blocked bool `json:"blocked,omitempty"`
}

// Rejection is a host that was not chosen.
type Rejection struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
	Fits   bool   `json:"fits,omitempty"`   // it could take it; another one is better
	Policy bool   `json:"policy,omitempty"` // its risk or state is against it: a person may take that risk
}
