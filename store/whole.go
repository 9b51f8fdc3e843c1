package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/vireo-kvm/vireo/migration"
)

// SettingMoved is the setting of a store whose records have moved to another one,
// or are about to: no manager runs on it. Its value says where they go and under
// which id. It stays behind when they move.
const SettingMoved = "store.moved"

// SettingFrom is the setting of a store whose records came from another one: the
// id of that move.
const SettingFrom = "store.from"

// Whole is everything that a store holds, but for its own settings: those whose
// key begins with "store.".
type Whole struct {
	Generation uint64
	Term       uint64
	Epoch      uint64 // the last one given out
	Hosts      []Host
	Claims     []Claim
	Migrations []migration.Row
	Owed       []Owed
	Decisions  []Decision // with their evidence
	Events     []Event
	Settings   []Setting
	Tokens     []Token
	Domains    []Domain
}

// Put stores all records in an empty store that has given out as many epochs.
// event stores an event under the id that it has already, which no transaction's
// own method does.
func (w Whole) Put(tx Tx, event func(Event) error) error {
	return errors.Join( // a failure undoes the transaction, whatever is tried after it
		each(w.Hosts, tx.PutHost),
		each(w.Claims, func(c Claim) error { return tx.SwapClaim(0, c) }),
		each(w.Migrations, tx.PutMigration),
		each(w.Owed, tx.PutOwed),
		each(w.Decisions, tx.PutDecision),
		each(w.Events, event),
		each(w.Settings, tx.PutSetting),
		each(w.Tokens, tx.PutToken),
		each(w.Domains, tx.PutDomain),
	)
}

func each[T any](records []T, put func(T) error) error {
	for _, r := range records {
		if err := put(r); err != nil {
			return err
		}
	}
	return nil
}

// Importer is a store that can take the place of another one.
type Importer interface {
	Store
	// Import makes the store hold w and nothing else, all at once or not at all, in
	// a generation after both; epochs and ids of events go on after w's. from is
	// put as SettingFrom. ErrReferenced when the store is in use: it holds records
	// and has not moved away itself (SettingMoved).
	Import(ctx context.Context, w Whole, from string) error
}

// ReadWhole reads everything at one moment.
func ReadWhole(ctx context.Context, s Store) (w Whole, err error) {
	id := s.Identity()
	w.Generation, w.Term = id.Generation, id.Term
	err = s.View(ctx, func(r Reader) error {
		if w.Epoch, err = r.LastEpoch(); err != nil {
			return err
		}
		if w.Hosts, err = r.Hosts(); err != nil {
			return err
		}
		if w.Claims, err = r.Claims(ClaimFilter{}); err != nil {
			return err
		}
		if w.Migrations, err = r.Migrations(MigrationFilter{}); err != nil {
			return err
		}
		if w.Owed, err = r.Owed(OwedFilter{}); err != nil {
			return err
		}
		if w.Decisions, err = r.Decisions(DecisionFilter{}); err != nil {
			return err
		}
		for i, d := range w.Decisions {
			if w.Decisions[i], err = r.Decision(d.ID); err != nil {
				return err
			}
		}
		if w.Events, err = r.Events(EventFilter{}); err != nil {
			return err
		}
		all, err := r.Settings("")
		if err != nil {
			return err
		}
		w.Settings = nil
		for _, s := range all {
			if !strings.HasPrefix(s.Key, "store.") {
				w.Settings = append(w.Settings, s)
			}
		}
		if w.Tokens, err = r.Tokens(); err != nil {
			return err
		}
		w.Domains, err = r.Domains(DomainFilter{})
		return err
	})
	return w, err
}

// Records counts what there is.
func (w Whole) Records() int {
	return len(w.Hosts) + len(w.Claims) + len(w.Migrations) + len(w.Owed) + len(w.Decisions) + len(w.Events) + len(w.Settings) +
		len(w.Tokens) + len(w.Domains)
}

// String counts what there is, for people.
func (w Whole) String() string {
	return fmt.Sprintf("%d hosts, %d claims, %d migrations, %d decisions, %d events, %d domains; last epoch %d",
		len(w.Hosts), len(w.Claims), len(w.Migrations), len(w.Decisions), len(w.Events), len(w.Domains), w.Epoch)
}

// Differs says in words where another store holds something else, "" when it
// holds the same. Generation and term are each store's own.
func (w Whole) Differs(o Whole) string {
	if w.Epoch != o.Epoch {
		return fmt.Sprintf("the last epoch is %d in one and %d in the other", w.Epoch, o.Epoch)
	}
	for _, difference := range []string{
		differs("hosts", w.Hosts, o.Hosts), differs("claims", w.Claims, o.Claims), differs("migrations", w.Migrations, o.Migrations),
		differs("owed", w.Owed, o.Owed), differs("decisions", w.Decisions, o.Decisions), differs("events", w.Events, o.Events),
		differs("settings", w.Settings, o.Settings), differs("tokens", w.Tokens, o.Tokens), differs("domains", w.Domains, o.Domains),
	} {
		if difference != "" {
			return difference
		}
	}
	return ""
}

func differs[T any](what string, a, b []T) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d %s in one and %d in the other", len(a), what, len(b))
	}
	for i := range a {
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Sprintf("%s: %+v in one and %+v in the other", what, a[i], b[i])
		}
	}
	return ""
}
