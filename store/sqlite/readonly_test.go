package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// Somebody may look at the store of a running manager, who notices nothing.
func TestReadOnlyBesideAManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vireo.db")
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at, value := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), 7.0
	keep := func(at time.Time) {
		if _, err := db.Keep(t.Context(), []signal.Reading{{Host: "h1", Component: "disk:A", Signal: signal.SmartPendingSectors, Value: &value,
			Unit: signal.Count, ObservedAt: at, Status: signal.OK}}); err != nil {
			t.Fatal(err)
		}
	}
	keep(at)
	r, err := OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	keep(at.AddDate(0, 0, 1)) // the manager goes on
	hosts, err := r.Hosts(t.Context())
	if err != nil || len(hosts) != 1 || hosts[0] != "h1" {
		t.Fatal(hosts, err)
	}
	days, err := r.Rollups(t.Context(), store.Query{Host: "h1"}, store.Daily)
	if err != nil || len(days) != 2 || days[1].Last != 7 {
		t.Fatal(days, err)
	}
	err = r.db.reading(t.Context(), func(s *session) error {
		_, err := s.exec("UPDATE meta SET term = term + 1")
		return err
	})
	if err == nil {
		t.Error("it could be written")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	keep(at.AddDate(0, 0, 2)) // and is not fenced

	other := filepath.Join(t.TempDir(), "other.db")
	if _, err := OpenReadOnly(t.Context(), other); err == nil {
		t.Error("a file that is not there was opened")
	} else if _, err := os.Stat(other); err == nil {
		t.Error("and made")
	}
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(t.Context(), other); err == nil || !strings.Contains(err.Error(), "expected a vireo store") {
		t.Errorf("an empty file: %v", err)
	}
}
