package etcd

import (
	"context"
	"fmt"

	"github.com/vireo-kvm/vireo/store"
)

var _ store.Importer = (*DB)(nil)

// Import implements store.Importer.
func (db *DB) Import(ctx context.Context, w store.Whole, from string) error {
	err := db.writing(ctx, func() error {
		t := newTx(db.state(), nil)
		if err := t.clear(); err != nil {
			return err
		}
		t.head.Generation = max(t.head.Generation, w.Generation) + 1
		t.head.Term = max(t.head.Term, w.Term)
		t.head.Epoch = max(t.head.Epoch, w.Epoch)
		if err := t.fill(w); err != nil {
			return err
		}
		if err := t.PutSetting(store.Setting{Key: store.SettingFrom, Value: from}); err != nil {
			return err
		}
		return db.end(t)
	})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// clear forgets everything, if the store has moved away or holds nothing.
func (t *tx) clear() error {
	var keys []string
	t.tree.Ascend(func(i item) bool { keys = append(keys, i.key); return true })
	if len(keys) > 0 && !t.has(key(settingKeys, store.SettingMoved)) {
		return fmt.Errorf("it holds %d records: %w", len(keys), store.ErrReferenced)
	}
	decisions, err := list(&t.reader, decisionKey, func(d evidenced) evidenced { return d }, everything)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		for part := range d.Parts {
			t.delete(evidencePart(d.ID, part))
		}
	}
	for _, k := range keys {
		t.delete(k)
	}
	return nil
}

func (t *tx) fill(w store.Whole) error {
	for _, h := range w.Hosts {
		if err := t.PutHost(h); err != nil {
			return err
		}
	}
	for _, c := range w.Claims {
		if err := t.SwapClaim(0, c); err != nil {
			return err
		}
	}
	for _, m := range w.Migrations {
		if err := t.PutMigration(m); err != nil {
			return err
		}
	}
	for _, o := range w.Owed {
		if err := t.PutOwed(o); err != nil {
			return err
		}
	}
	for _, d := range w.Decisions {
		if err := t.PutDecision(d); err != nil {
			return err
		}
	}
	for _, e := range w.Events {
		if err := t.put(eventID(e.ID), storedEvent(e)); err != nil {
			return err
		}
		t.head.Event = max(t.head.Event, e.ID)
	}
	for _, s := range w.Settings {
		if err := t.PutSetting(s); err != nil {
			return err
		}
	}
	for _, k := range w.Tokens {
		if err := t.PutToken(k); err != nil {
			return err
		}
	}
	for _, d := range w.Domains {
		if err := t.PutDomain(d); err != nil {
			return err
		}
	}
	return nil
}
