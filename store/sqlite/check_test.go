package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// spoil breaks the middle of the pages that hold marker.
func spoil(t *testing.T, path, marker string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := 0
	for page := 4096; page+4096 <= len(content); page += 4096 {
		if bytes.Count(content[page:page+4096], []byte(marker)) > 8 { // a leaf of the table, not of the schema
			for i := range 64 {
				content[page+i] ^= 0x5a // its header
			}
			spoilt++
		}
	}
	if spoilt == 0 {
		t.Fatalf("no page holds %q", marker)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsNamed: what was promised is checked before the store opens, the
// readings while it is open; both name the table.
func TestDamageIsNamed(t *testing.T) {
	made := func() string {
		path := filepath.Join(t.TempDir(), "vireo.db")
		db := open(t, path, nil)
		held(t, db, 0, 2000)
		value := 1.0
		var batch []signal.Reading
		for i := range 3000 {
			batch = append(batch, signal.Reading{Host: "h1", Component: "cpu", Signal: "text", Text: "what-a-reading-says", Value: &value, Status: signal.OK, ObservedAt: time.Unix(int64(i), 0)})
		}
		if _, err := db.Keep(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if err := db.CheckReadings(t.Context()); err != nil {
			t.Errorf("sound: %v", err)
		}
		closeStore(t, db)
		return path
	}
	t.Run("claims", func(t *testing.T) {
		path := made()
		spoil(t, path, "held")
		if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "table claims") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("readings", func(t *testing.T) {
		path := made()
		spoil(t, path, "what-a-reading-says")
		db := open(t, path, nil)
		defer closeStore(t, db)
		if n := claims(t, db); n != 2000 {
			t.Errorf("%d claims", n)
		}
		if err := db.CheckReadings(t.Context()); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "table readings") || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.CheckReadings(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("told to stop: %v", err)
		}
	})
}
