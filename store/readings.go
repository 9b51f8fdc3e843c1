package store

import (
	"context"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Readings is the contract of what one manager has been told by agents and what
// its model made of it. All methods may be called from any goroutine; each is
// its own transaction, or several bounded ones where it says so.
type Readings interface {
	// Keep stores readings of any hosts and returns, once they are durable, how
	// many were new. A reading of the same host, component, signal and
	// ObservedAt as a stored one is the same reading: the first stays.
	// ErrInvalid when one has no host, component, signal or ObservedAt; then
	// none is kept. Large batches are written in several transactions.
	Keep(ctx context.Context, batch []signal.Reading) (kept int, err error)

	// Latest is the newest reading of each component and signal of a host,
	// sorted by component and signal. It survives retention for as long as
	// daily roll-ups are kept.
	Latest(ctx context.Context, host string) ([]signal.Reading, error)
	// History is what is stored of a host, oldest first.
	History(ctx context.Context, q Query) ([]signal.Reading, error)
	// Rollups sum a host's values up by hour or day, oldest first, whether the
	// readings themselves are still stored or not. Readings without a value do
	// not count.
	Rollups(ctx context.Context, q Query, width Width) ([]Rollup, error)

	// Retain rolls readings up by hour and day, and deletes what is older than r
	// keeps it. It works in bounded transactions; interrupted, the next call goes
	// on where it was.
	Retain(ctx context.Context, now time.Time, r Retention) (Retained, error)

	// PutStates stores what the model remembers of components, PutRisks what it
	// says of them. PutRisks also adds to each component's history when a
	// score, its grade, hard evidence or the model differ from the last ones.
	PutStates(ctx context.Context, states []ModelState) error
	PutRisks(ctx context.Context, risks []ComponentRisk) error
	// States and Risks are the current ones of a host, all hosts when it is "",
	// sorted by host and component.
	States(ctx context.Context, host string) ([]ModelState, error)
	Risks(ctx context.Context, host string) ([]ComponentRisk, error)
	// RiskHistory is what the model said of a component, oldest first; of all
	// the host's components when component is "".
	RiskHistory(ctx context.Context, host, component string, since time.Time) ([]ComponentRisk, error)
	// Forget removes everything about a host, or one of its components when
	// component is not "".
	Forget(ctx context.Context, host, component string) error
}

// Query selects readings of one host.
type Query struct {
	Host      string
	Component string    // "": all
	Signal    string    // "": all
	Since     time.Time // at or after
	Until     time.Time // before; zero: no end
	Limit     int       // the newest so many, 0: all
}

// Width of a roll-up's window. Windows begin at full hours and days of UTC.
type Width time.Duration

const (
	Hourly = Width(time.Hour)
	Daily  = Width(24 * time.Hour)
)

// Rollup sums up one signal over one window.
type Rollup struct {
	Component string
	Signal    string
	Start     time.Time
	Min       float64
	Max       float64
	Last      float64
	LastAt    time.Time
}

// Retention says how long each kind of record is kept. 0 keeps it for ever.
type Retention struct {
	Raw    time.Duration // readings themselves, and every step of the risks' history
	Hourly time.Duration
	Daily  time.Duration // also the last risk of each day, and the latest reading of a signal
}

// Retained counts what one pass deleted.
type Retained struct {
	Readings int
	Rollups  int
	Risks    int
}

// ModelState is what a model remembers of one component: its features so far.
type ModelState struct {
	Host      string
	Component string
	Model     string // identifies what can read State
	State     []byte
	At        time.Time
}

// ComponentRisk is what the model says of one component.
type ComponentRisk struct {
	Host      string
	Component string
	Score     Risk
	Reasons   []Reason
	Impact    string // what depends on the component, in words
	Model     string
}
