package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vireo-kvm/vireo/store"
)

func TestStepsAreNumbered(t *testing.T) {
	file := func() *fstest.MapFile { return &fstest.MapFile{Data: []byte("SELECT 1")} }
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  string // in the error, "" for none
	}{
		{"in order", fstest.MapFS{"schema/0001_a.sql": file(), "schema/0002_b.sql": file()}, ""},
		{"with a hole", fstest.MapFS{"schema/0001_a.sql": file(), "schema/0003_c.sql": file()}, "expected number 0002"},
		{"twice", fstest.MapFS{"schema/0001_a.sql": file(), "schema/0001_b.sql": file()}, "expected number 0002"},
		{"without a number", fstest.MapFS{"schema/first.sql": file()}, "expected number 0001"},
		{"with a short number", fstest.MapFS{"schema/1_a.sql": file()}, "expected number 0001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, err := steps(tt.files)
			if tt.want == "" && (err != nil || len(all) != len(tt.files)) {
				t.Errorf("got %v, %v", all, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if all, err := steps(schemaFiles); err != nil || len(all) == 0 {
		t.Errorf("embedded: %v, %v", all, err)
	}
}

// TestUpgrade adds steps to a store with data: they run once, in order, each
// whole or not at all.
func TestUpgrade(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutHost(store.Host{Name: "h1", State: store.Healthy})
	}); err != nil {
		t.Fatal(err)
	}
	all, err := steps(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	last := len(all)
	good := append(all, step{last + 1, "good", "ALTER TABLE hosts ADD COLUMN rack TEXT NOT NULL DEFAULT 'r'; UPDATE hosts SET rack = 'r1';"})
	bad := append(good, step{last + 2, "bad", "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);"})
	err = db.writing(context.Background(), func(s *session) error {
		version := func() (n int) {
			if err := s.row("PRAGMA user_version", nil, &n); err != nil {
				t.Error(err)
			}
			return n
		}
		if err := upgrade(s, bad); err == nil || !strings.Contains(err.Error(), "schema step bad") {
			t.Errorf("bad step: %v", err)
		}
		if v := version(); v != last+1 {
			t.Errorf("after the bad step at %d, want %d", v, last+1)
		}
		var tables int
		if err := s.row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", nil, &tables); err != nil || tables != 0 {
			t.Errorf("half a step is left: %d, %v", tables, err)
		}
		if err := upgrade(s, good); err != nil { // nothing left to do
			t.Error(err)
		}
		if err := upgrade(s, all); !errors.Is(err, store.ErrNewer) {
			t.Errorf("an older version: %v", err)
		}
		var rack string
		if err := s.row("SELECT rack FROM hosts WHERE name = 'h1'", nil, &rack); err != nil || rack != "r1" {
			t.Errorf("rack %q, %v", rack, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingAfterAFailure: when SQLite has failed, it may have ended the
// transaction; a caller that goes on regardless must not write outside of one.
func TestNothingAfterAFailure(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(t.Context(), func(tr store.Tx) error {
		s := tr.(tx).s
		if _, err := s.exec("no statement"); err == nil {
			t.Error("no error")
		}
		if _, err := s.conn.ExecContext(t.Context(), "ROLLBACK"); err != nil { // as SQLite does by itself
			t.Error(err)
		}
		if err := tr.PutHost(store.Host{Name: "h1", State: store.Healthy}); err == nil {
			t.Error("a write after the failure was taken")
		}
		return nil
	})
	if err == nil {
		t.Error("the update was acknowledged")
	}
	err = db.View(t.Context(), func(r store.Reader) error {
		hosts, err := r.Hosts()
		if len(hosts) != 0 {
			t.Errorf("hosts %v", hosts)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h1", State: store.Healthy}) }); err != nil {
		t.Errorf("the next update: %v", err)
	}
}
