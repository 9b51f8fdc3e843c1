package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/store"
)

var _ store.Importer = (*DB)(nil)

// The tables of the shared records, in an order in which they can be emptied.
var sharedTables = []string{"claims", "domains", "hosts", "migrations", "owed", "decisions", "events", "settings", "tokens"}

// Import implements store.Importer. Readings and roll-ups stay.
func (db *DB) Import(ctx context.Context, w store.Whole, from string) error {
	var id store.Identity
	err := db.writing(ctx, func(s *session) error {
		err := s.transaction(func() error {
			if err := db.fence(s); err != nil {
				return err
			}
			if err := clearShared(s); err != nil {
				return err
			}
			id = db.Identity()
			id.Generation = max(id.Generation, w.Generation) + 1
			id.Term = max(id.Term, w.Term)
			if _, err := s.exec("UPDATE meta SET generation = ?, term = ?", id.Generation, id.Term); err != nil {
				return err
			}
			s.given = max(s.given, w.Epoch)
			t := tx{s}
			if err := w.Put(t, t.insertEvent); err != nil {
				return err
			}
			return t.PutSetting(store.Setting{Key: store.SettingFrom, Value: from})
		})
		if err == nil {
			db.mu.Lock()
			db.identity = id
			db.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// clearShared empties the tables, if the store has moved away or holds nothing.
func clearShared(s *session) error {
	t := tx{s}
	_, err := t.Setting(store.SettingMoved)
	for _, table := range sharedTables {
		var n int
		if cerr := s.row("SELECT count(*) FROM "+table, nil, &n); cerr != nil {
			return cerr
		}
		if n > 0 && err != nil {
			return fmt.Errorf("it holds %d %s: %w", n, table, store.ErrReferenced)
		}
		if _, derr := s.exec("DELETE FROM " + table); derr != nil {
			return derr
		}
	}
	return nil
}

var insertEvent = "INSERT INTO events (id, " + eventColumns + ") VALUES (?" + strings.Repeat(", ?", 9) + ")"

// insertEvent stores an event under the id that it has already.
func (t tx) insertEvent(e store.Event) error {
	if _, err := t.s.exec(insertEvent, append([]any{e.ID}, eventFields(&e)...)...); err != nil {
		return fmt.Errorf("event %d: %w", e.ID, err)
	}
	return nil
}
