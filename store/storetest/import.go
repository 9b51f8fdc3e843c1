package storetest

import (
	"errors"
	"testing"

	"github.com/vireo-kvm/vireo/store"
)

// testImport moves everything out of a store and into an empty one of the same
// engine, and refuses what is in use.
func testImport(t *testing.T, f *fixture, other Place) {
	r := newRecords(t, 0)
	f.update(r.put)
	f.update(func(tx store.Tx) error { // ids have gaps
		_, err1 := tx.AppendEvent(store.Event{Kind: "gone", Severity: store.Info, At: after(0)})
		_, err2 := tx.DeleteEvents(after(1), after(1), 10)
		return errors.Join(err1, err2)
	})
	whole, err := store.ReadWhole(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Records() < 10 {
		t.Fatalf("only %s", whole)
	}
	opened, err := other()
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	to := opened.(store.Importer)
	if err := to.Import(t.Context(), whole, "move-1"); err != nil {
		t.Fatal(err)
	}
	got, err := store.ReadWhole(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if d := whole.Differs(got); d != "" {
		t.Fatal(d)
	}
	if got.Generation <= whole.Generation {
		t.Errorf("generation %d after %d", got.Generation, whole.Generation)
	}
	g := &fixture{T: t, Store: to}
	g.view(r.check(t))
	g.update(func(tx store.Tx) error { // epochs and ids go on
		c, err := next(tx, "another")
		c.Holder = r.host.Name
		if err != nil || c.Epoch != whole.Epoch+1 {
			t.Errorf("epoch %d after %d: %v", c.Epoch, whole.Epoch, err)
		}
		id, err := tx.AppendEvent(store.Event{Kind: "next", Severity: store.Info})
		if id <= r.event.ID {
			t.Errorf("event %d after %d", id, r.event.ID)
		}
		return errors.Join(err, tx.SwapClaim(0, c))
	})
	if err := to.Import(t.Context(), whole, "move-2"); !errors.Is(err, store.ErrReferenced) {
		t.Errorf("into a store that is in use: %v", err)
	}
	g.update(func(tx store.Tx) error {
		return tx.PutSetting(store.Setting{Key: store.SettingMoved, Value: "elsewhere"})
	})
	if err := to.Import(t.Context(), whole, "move-3"); err != nil {
		t.Errorf("into a store that has moved away: %v", err)
	}
	again, err := store.ReadWhole(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	again.Epoch = whole.Epoch // it never goes back
	if d := whole.Differs(again); d != "" {
		t.Error(d)
	}
}
