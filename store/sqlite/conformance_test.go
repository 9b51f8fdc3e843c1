package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
	"github.com/vireo-kvm/vireo/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		path := filepath.Join(t.TempDir(), "vireo.db")
		return func() (store.Store, error) { return sqlite.Open(context.Background(), path) }
	})
}

func TestReadings(t *testing.T) {
	storetest.RunReadings(t, func(t *testing.T) store.Readings { return openTemp(t) })
}

// openTemp opens a new store that the test's end closes.
func openTemp(t testing.TB) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}
