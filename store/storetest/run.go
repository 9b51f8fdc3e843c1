package storetest

import (
	"errors"
	"testing"

	"github.com/vireo-kvm/vireo/store"
)

// Place is where one store lives. Each call opens it; the suite closes what it
// has opened before it opens again.
type Place func() (store.Store, error)

// Run tests an engine. Each call of fresh makes a new, empty place.
func Run(t *testing.T, fresh func(t *testing.T) Place) {
	tests := []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"records come back as they were put, also after reopening", testRecords},
		{"a second put replaces", testReplace},
		{"what does not exist is not found", testNotFound},
		{"invalid records are refused", testInvalid},
		{"lists are filtered and sorted", testLists},
		{"events", testEvents},
		{"old events go, records of what people did later", testDeleteEvents},
		{"settings", testSettings},
		{"evidence is written once", testEvidence},
		{"hosts with claims stay", testDeleteHost},
		{"claims: compare and set", testClaims},
		{"epochs outlive deletion, rollback gives them back", testEpochs},
		{"claims: many writers, one winner each time", testRacingClaims},
		{"tokens are taken once", testTokens},
		{"a failed update leaves nothing", testAtomic},
		{"a view stands still", testView},
		{"identity", testIdentity},
		{"closed and cancelled", testClosed},
	}
	t.Run("everything moves to another place", func(t *testing.T) {
		f := &fixture{T: t, place: fresh(t)}
		f.reopen()
		t.Cleanup(func() { _ = f.Close() })
		testImport(t, f, fresh(t))
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{T: t, place: fresh(t)}
			f.reopen()
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, f)
		})
	}
}

// fixture is one open store and shorthands that fail the test.
type fixture struct {
	*testing.T
	store.Store
	place Place
}

func (f *fixture) reopen() {
	f.Helper()
	if f.Store != nil {
		if err := f.Close(); err != nil {
			f.Fatalf("close: %v", err)
		}
	}
	s, err := f.place()
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	f.Store = s
}

func (f *fixture) update(fn func(tx store.Tx) error) {
	f.Helper()
	if err := f.Update(f.Context(), fn); err != nil {
		f.Fatalf("update: %v", err)
	}
}

func (f *fixture) view(fn func(r store.Reader) error) {
	f.Helper()
	if err := f.View(f.Context(), fn); err != nil {
		f.Fatalf("view: %v", err)
	}
}

// refused runs an update that must fail with this error.
func (f *fixture) refused(want error, fn func(tx store.Tx) error) {
	f.Helper()
	if err := f.Update(f.Context(), fn); !errors.Is(err, want) {
		f.Fatalf("update: got %v, want %v", err, want)
	}
}

// hosts enrols these.
func (f *fixture) hosts(names ...string) {
	f.Helper()
	f.update(func(tx store.Tx) error {
		for _, n := range names {
			if err := tx.PutHost(host(n)); err != nil {
				return err
			}
		}
		return nil
	})
}
