package store

import "time"

// Phase is how firmly a claim stands. Values are stored and shown; they never
// change.
type Phase string

const (
	Held         Phase = "held"         // the holder may run the domain
	Transferring Phase = "transferring" // on its way from holder to target under attempt
	Ambiguous    Phase = "ambiguous"    // it may run twice: starts and moves are forbidden
	Released     Phase = "released"     // nobody may run it before a new grant
)

// Claim says which host may run a domain: at most one per domain. Each change
// takes the next epoch.
type Claim struct {
	Domain      string // UUID
	Name        string // of the domain when last seen
	Holder      string // host; the source while transferring
	Epoch       uint64
	Phase       Phase
	Attempt     string    // id of the open move, "" when none
	Target      string    // host, "" when none
	Seen        time.Time // when a write last found the domain at work; zero: granted, not started yet
	GrantedBy   string    // who or what gave it: an operator, "adoption", a decision's or migration's id
	RiskAtGrant float64   // the holder's 30 day risk then, percent
	Since       time.Time // when the phase, the holder or the target last changed
	MemoryKiB   uint64    // what the domain takes from its host; counts on holder and target
}

// OwedKind is what is left to do after a claim was settled. Values are stored.
type OwedKind string

const (
	OwedVoid        OwedKind = "void"        // the host has not yet answered that the attempt is void there
	OwedSettle      OwedKind = "settle"      // definition and autostart do not yet follow the claim
	OwedReservation OwedKind = "reservation" // memory stays counted until the host has answered
)

// Owed is something a host still has to do or to confirm. It outlives the claim
// and the move that it comes from. Kind, host, domain and attempt identify it.
type Owed struct {
	Kind    OwedKind
	Host    string
	Domain  string // UUID
	Attempt string
	Epoch   uint64 // orders for it carry this epoch when the domain has no claim any more
	Since   time.Time

	MemoryKiB uint64 // of a reservation
	Keep      bool   // of a settle: the definition stays here; else it goes, unless the claim is here
	Autostart bool   // of a settle: the guest's before the move, for the host whose definition is the guest's
}
