package store

import (
	"context"
	"time"

	"github.com/vireo-kvm/vireo/migration"
)

// Store is the contract of the shared, durable records. All methods may be
// called from any goroutine.
type Store interface {
	// Update runs f in one transaction and returns nil only when everything f
	// wrote is durable. When f fails, or panics, nothing was written and f's
	// error comes back. f must not call Update or View, and must not keep tx. f
	// may run more than once before Update returns: it has no effect beside tx
	// and values that it sets anew each time.
	//
	// ErrFenced says that a newer manager has taken over, ErrFull that there is
	// no room; any other failure of the commit leaves open whether it happened.
	// ctx ends the waiting for the transaction, not the transaction.
	Update(ctx context.Context, f func(tx Tx) error) error

	// View runs f on one consistent state that includes every acknowledged
	// Update. It does not wait for writers.
	View(ctx context.Context, f func(r Reader) error) error

	// Identity is who this manager is to the store, fixed by opening it and
	// changed by NewGeneration only.
	Identity() Identity

	// NewGeneration begins a new generation, higher than the store's own and
	// than seen (the highest that any agent has shown). After it nothing that
	// was said in an older generation is obeyed. The epoch counter leaps by
	// EpochLeap, so that no epoch of a generation that this store has lost is
	// ever given out again.
	NewGeneration(ctx context.Context, seen uint64) (Identity, error)

	// Close releases the store, so that another manager can open it. Its term is
	// never used again.
	Close() error
}

// EpochLeap is how many epochs a new generation leaves out: more than any that
// can have been given out between the backup that was restored and its loss.
const EpochLeap = 1 << 32

// Identity names one opening of a store. Generation, term and epoch are
// compared in this order.
type Identity struct {
	Generation uint64 // from 1; grows when a store is restored or replaced
	Term       uint64 // from 1; grows each time a manager opens the store
	Instance   string // random, of this opening
}

// Reader reads within one transaction. Lists are complete and sorted as each
// method says; a filter's zero value lists everything.
type Reader interface {
	// Host returns ErrNotFound for a name that is not enrolled.
	Host(name string) (Host, error)
	// Hosts are sorted by name.
	Hosts() ([]Host, error)

	// LastEpoch is the last one given out, 0 when none was.
	LastEpoch() (uint64, error)
	// Claim returns ErrNotFound when the domain has none.
	Claim(domain string) (Claim, error)
	// Claims are sorted by domain.
	Claims(ClaimFilter) ([]Claim, error)

	// Migration returns ErrNotFound for an unknown id.
	Migration(id string) (migration.Row, error)
	// Migrations come newest first, by Planned and then id.
	Migrations(MigrationFilter) ([]migration.Row, error)
	// Owed are sorted by Since, oldest first.
	Owed(OwedFilter) ([]Owed, error)

	// Decision returns it with its Evidence, ErrNotFound for an unknown id.
	Decision(id string) (Decision, error)
	// Decisions come newest first, by At and then id, without Evidence.
	Decisions(DecisionFilter) ([]Decision, error)

	// Events are sorted by id, oldest first, also when Last cuts them.
	Events(EventFilter) ([]Event, error)

	// Setting returns ErrNotFound when it was never put: the configuration's
	// value holds.
	Setting(key string) (Setting, error)
	// Settings are those whose key begins so, sorted by key.
	Settings(prefix string) ([]Setting, error)

	// Token returns ErrNotFound for an unknown id.
	Token(id string) (Token, error)
	// Tokens are sorted by id.
	Tokens() ([]Token, error)

	// Domains are sorted by host, name and UUID.
	Domains(DomainFilter) ([]Domain, error)
}

// Tx reads and writes within one transaction; it sees its own writes.
type Tx interface {
	Reader

	// PutHost adds or replaces the host of that name.
	PutHost(Host) error
	// DeleteHost removes a host and the domains seen on it. ErrReferenced while
	// a claim names it as holder or target.
	DeleteHost(name string) error

	// NextEpoch gives out the next epoch of the store's one counter. Epochs are
	// never given out twice, whatever is deleted; one that is rolled back with
	// its transaction was seen by nobody.
	NextEpoch() (uint64, error)
	// SwapClaim replaces the domain's claim if its epoch is expected; 0 means
	// that there must be none. Otherwise ErrStale. next.Epoch comes from
	// NextEpoch and is greater than expected, or it is ErrInvalid. Holder and
	// target must be known hosts, or it is ErrNotFound.
	SwapClaim(expected uint64, next Claim) error
	// DeleteClaim removes the domain's claim if its epoch is this one,
	// otherwise ErrStale.
	DeleteClaim(domain string, epoch uint64) error

	// PutMigration adds or replaces the row of that ID. ErrInvalid when it has
	// ended without an outcome.
	PutMigration(migration.Row) error
	// PutOwed adds or replaces what is owed, by kind, host, domain and attempt.
	// ErrInvalid without kind, host or domain.
	PutOwed(Owed) error
	// DeleteOwed strikes what is owed; that nothing was owed is no error.
	DeleteOwed(Owed) error

	// PutDecision adds or replaces it. Evidence is written once: a later Put
	// with nil Evidence keeps what is stored.
	PutDecision(Decision) error
	// AppendEvent stores the event under the next id, which it returns. The
	// event's own ID is ignored. Ids grow in the order in which transactions
	// commit.
	AppendEvent(Event) (uint64, error)
	// DeleteEvents forgets events of before a time, oldest first, at most limit
	// of them, and returns how many. Audit records (Who is set) of after keep
	// stay. Ids are never given out again.
	DeleteEvents(before, keep time.Time, limit int) (int, error)
	PutSetting(Setting) error
	// DeleteSetting of an unknown key is no error.
	DeleteSetting(key string) error

	PutToken(Token) error
	// TakeToken uses up an enrolment token, once: ErrNotFound when no token has
	// this id and hash, ErrUsed when it was taken before, ErrExpired when now
	// is not before its end.
	TakeToken(id string, hash []byte, now time.Time) (Token, error)
	// DeleteToken of an unknown id is no error.
	DeleteToken(id string) error

	// PutDomain adds or replaces what was last seen of a domain on a host.
	PutDomain(Domain) error
	// DeleteDomain forgets what was seen; that nothing was seen is no error.
	DeleteDomain(host, uuid string) error
}

// ClaimFilter selects claims.
type ClaimFilter struct {
	Host  string // holder or target
	Phase Phase
}

// MigrationFilter selects moves.
type MigrationFilter struct {
	Open     bool   // only those that have not ended
	Host     string // source or target
	Domain   string // UUID
	Decision string
	Limit    int // 0: no limit
}

// OwedFilter selects debts.
type OwedFilter struct {
	Kind   OwedKind
	Host   string
	Domain string
}

// DecisionFilter selects decisions.
type DecisionFilter struct {
	Host   string
	Kind   DecisionKind
	Status DecisionStatus
	Since  time.Time // made at or after
	Limit  int       // 0: no limit
}

// EventFilter selects events.
type EventFilter struct {
	After     uint64 // id greater than
	Host      string
	Domain    string
	Migration string
	Last      int // only the newest so many, 0: all
	Limit     int // only the oldest so many after After, 0: all
}

// DomainFilter selects domains as last seen. A domain may be seen on more than
// one host: running here, still defined there.
type DomainFilter struct {
	Host string
	UUID string
	Name string
}
