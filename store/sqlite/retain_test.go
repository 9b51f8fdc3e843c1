package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// daily is a store with n readings of one series, a day apart, from 1970 on.
func daily(t *testing.T, n int) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	batch := make([]signal.Reading, n)
	for i := range batch {
		value := float64(i)
		batch[i] = signal.Reading{Host: "h1", Component: "disk:A", Signal: "smart_5_raw", Value: &value, Status: signal.OK,
			ObservedAt: time.Unix(0, 0).Add(time.Duration(i) * 24 * time.Hour)}
	}
	if _, err := db.Keep(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestRetentionSumsUpManyWindowsAtOnce: years of daily readings have as many
// windows as readings, and a statement for each would cost a hundred times as much.
func TestRetentionSumsUpManyWindowsAtOnce(t *testing.T) {
	db := daily(t, 1000)
	err := db.update(t.Context(), func(s *session) error {
		for _, want := range []struct {
			limit, deleted int
			finished       bool
		}{{300, 300, false}, {700, 699, true}, {700, 0, true}} { // the newest stays
			var done store.Retained
			finished, err := retainReadings(s, 1, time.Unix(0, 0).Add(999*24*time.Hour).UnixNano(), time.Unix(1e9, 0).UnixNano(), want.limit, &done)
			if err != nil {
				return err
			}
			if done.Readings != want.deleted || finished != want.finished {
				t.Errorf("at most %d: deleted %d, finished %t; want %d, %t", want.limit, done.Readings, finished, want.deleted, want.finished)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []store.Width{store.Hourly, store.Daily} {
		all, err := db.Rollups(t.Context(), store.Query{Host: "h1"}, width)
		if err != nil || len(all) != 1000 {
			t.Fatalf("%d roll-ups of %v, %v; want 1000", len(all), time.Duration(width), err)
		}
		for i, r := range all {
			if v := float64(i); r.Min != v || r.Max != v || r.Last != v {
				t.Fatalf("roll-up %d of %v is %+v", i, time.Duration(width), r)
			}
		}
	}
}

// TestRetentionSearches: nothing that retention does while others wait for the
// writer looks through a table, so that its time grows with what goes and not
// with what stays.
func TestRetentionSearches(t *testing.T) {
	db := daily(t, 100)
	risk := store.ComponentRisk{Host: "h1", Component: "disk:A", Score: store.Risk{At: time.Unix(0, 0)}}
	if err := db.PutRisks(t.Context(), []store.ComponentRisk{risk}); err != nil {
		t.Fatal(err)
	}
	before := statements(t, db)
	if _, err := db.Retain(t.Context(), time.Unix(1e9, 0), store.Retention{Raw: time.Hour, Hourly: time.Hour, Daily: time.Hour}); err != nil {
		t.Fatal(err)
	}
	looked := 0
	for text, plan := range statements(t, db) {
		if before[text] != nil {
			continue
		}
		for _, line := range plan {
			switch {
			case strings.HasPrefix(line, "SEARCH "):
				looked++
			case strings.HasPrefix(line, "SCAN ") && line != "SCAN w" && line != "SCAN (subquery-1)", // what was searched for just before
				strings.Contains(line, "AUTOMATIC"):
				t.Errorf("%s\n%s", text, strings.Join(plan, "\n"))
			}
		}
	}
	if looked < 7 {
		t.Errorf("%d searches: that is not all of retention", looked)
	}
}

// statements are the plans of all statements that the writer has prepared.
func statements(t *testing.T, db *DB) map[string][]string {
	t.Helper()
	plans := map[string][]string{}
	err := db.update(t.Context(), func(s *session) error {
		for text := range s.stmts {
			lines, err := plan(t.Context(), s, text)
			if err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
			plans[text] = lines
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return plans
}

// plan is how SQLite would run a statement, whatever its parameters are.
func plan(ctx context.Context, s *session, text string) (lines []string, err error) {
	text = "EXPLAIN QUERY PLAN " + text
	var params []any
	err = s.conn.Raw(func(conn any) error {
		st, err := conn.(*sqlite3.SQLiteConn).Prepare(text)
		if err == nil {
			params = make([]any, st.NumInput())
			err = st.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, err := s.conn.QueryContext(ctx, text, params...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lines = []string{} // of what has nothing to plan, such as BEGIN
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}
