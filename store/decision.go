package store

import "time"

// Risk is a failure risk score: the calibrated probability in percent, 0 to 100,
// that the host harms its guests within the horizon.
type Risk struct {
	P24h    float64   `json:"p24h"`
	P7d     float64   `json:"p7d"`
	P30d    float64   `json:"p30d"`
	Low30d  float64   `json:"low30d"` // interval of P30d
	High30d float64   `json:"high30d"`
	Grade   string    `json:"grade,omitempty"` // evidence: A local … D prior only; "" not scored yet
	Hard    bool      `json:"hard,omitempty"`  // hard evidence stands
	At      time.Time `json:"at,omitzero"`
}

// Reason is one part of a score, in words and numbers.
type Reason struct {
	Signal string    `json:"signal"`
	Text   string    `json:"text"`
	Value  *float64  `json:"value,omitempty"`
	Usual  string    `json:"usual,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Weight float64   `json:"weight,omitempty"` // part of the score's logit; 0 for hard evidence
}

// DecisionKind is what a decision wants. Values are stored and shown; they never
// change.
type DecisionKind string

const (
	DecideHealthy     DecisionKind = "healthy" // the risk is gone, the host takes guests again
	DecideWatch       DecisionKind = "watch"
	DecideQuarantine  DecisionKind = "quarantine"
	DecideEvacuate    DecisionKind = "evacuate"
	DecideMoveDomains DecisionKind = "move_domains" // only those that the failing part carries
	DecideNotice      DecisionKind = "notice"       // worth knowing, nothing depends on it
	DecideHold        DecisionKind = "hold"         // would act, and stops to ask instead
)

// DecisionStatus is what became of a decision. Values are stored and shown; they
// never change.
type DecisionStatus string

const (
	Recorded   DecisionStatus = "recorded" // mode shadow: nothing follows
	Waiting    DecisionStatus = "waiting"  // for an operator
	Approved   DecisionStatus = "approved"
	Rejected   DecisionStatus = "rejected"
	Acting     DecisionStatus = "acting"
	Done       DecisionStatus = "done"
	Superseded DecisionStatus = "superseded" // a later one took its place
	HeldBack   DecisionStatus = "held_back"  // a brake stopped it
)

// Decision is what the manager concluded about one host, and on what.
type Decision struct {
	ID         string
	At         time.Time
	Host       string
	Kind       DecisionKind
	Status     DecisionStatus
	Component  string  // that it is about, "" for the whole host
	Cause      string  // names what it answers: while it stands, the same cause is not decided upon again
	Summary    string  // in one line
	Threshold  float64 // percent, the one that was crossed; 0 when none was
	Risk       Risk
	Reasons    []Reason
	Placements []Placement
	Model      string // that made the score
	Evidence   []byte // the snapshot that was decided on, JSON; written once

	ResolvedBy string // operator, "" while nobody has
	Resolution string // their reason
	ResolvedAt time.Time
}

// Placement is where one domain would go, and why not elsewhere.
type Placement struct {
	Domain     string        `json:"domain"` // UUID
	DomainName string        `json:"domain_name"`
	Target     string        `json:"target,omitempty"` // "": it cannot move
	Why        string        `json:"why,omitempty"`
	Rejected   []Refusal     `json:"rejected,omitempty"`
	MemoryKiB  uint64        `json:"memory_kib,omitempty"`
	Estimate   time.Duration `json:"estimate_ns,omitempty"`
}

// Refusal is why a host was not chosen as a target.
type Refusal struct {
	Host   string `json:"host"`
	Reason string `json:"reason"`
}
