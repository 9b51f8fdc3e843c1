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
		if err := w.Put(t, t.insertEvent); err != nil {
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

// insertEvent stores an event under the id that it has already.
func (t *tx) insertEvent(e store.Event) error {
	t.head.Event = max(t.head.Event, e.ID)
	return t.put(eventID(e.ID), storedEvent(e))
}
