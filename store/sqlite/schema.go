package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/vireo-kvm/vireo/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// applicationID is "vire" in the header of the file: another program's database
// is not written to.
const applicationID = 0x76697265

// step is one numbered change of the schema.
type step struct {
	number int
	name   string
	sql    string
}

// steps reads the embedded steps: 1, 2, 3, … without a hole.
func steps(files fs.FS) ([]step, error) {
	names, err := fs.Glob(files, "schema/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []step
	for i, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		base := strings.TrimPrefix(name, "schema/")
		digits, _, _ := strings.Cut(base, "_")
		number, err := strconv.Atoi(digits)
		if err != nil || len(digits) != 4 || number != i+1 {
			return nil, fmt.Errorf("schema step %s: expected number %04d", base, i+1)
		}
		all = append(all, step{number, base, string(text)})
	}
	return all, nil
}

// upgrade brings the file to the last step. Each step is one transaction with
// its number, so that a crash leaves a whole number of steps.
func upgrade(s *session, all []step) error {
	var application, version, tables int
	for pragma, v := range map[string]*int{"PRAGMA application_id": &application, "PRAGMA user_version": &version,
		"SELECT count(*) FROM sqlite_schema": &tables} {
		if err := s.row(pragma, nil, v); err != nil {
			return err
		}
	}
	switch {
	case application == 0 && version == 0 && tables == 0: // new
	case application != applicationID:
		return fmt.Errorf("not a store of vireo (application id %#x): %w", application, store.ErrInvalid)
	case version > len(all):
		return fmt.Errorf("schema step %d, this version knows %d: %w", version, len(all), store.ErrNewer)
	}
	for _, st := range all[version:] {
		err := s.transaction(func() error {
			// A script, not one statement: it is not prepared.
			return s.script(fmt.Sprintf("%s\nPRAGMA application_id = %d; PRAGMA user_version = %d;",
				st.sql, applicationID, st.number))
		})
		if err != nil {
			return fmt.Errorf("schema step %s: %w", st.name, err)
		}
	}
	return nil
}

// promised are the tables of what was promised to agents and operators. Opening
// reads all of them; the readings, which may be a thousand times as much, are
// checked while the manager works (CheckReadings).
var promised = []string{"meta", "hosts", "claims", "migrations", "owed", "decisions", "events", "settings", "tokens", "domains"}

// check looks for damage in some tables, with their indexes; it reads all of
// them.
func check(s *session, tables ...string) error {
	for _, table := range tables {
		lines, err := query(s, "PRAGMA quick_check('"+table+"')", nil, func(line *string) []any { return []any{line} })
		if err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
		if err := verdict(table, lines); err != nil {
			return err
		}
	}
	return nil
}

// checkAll looks for damage anywhere in the file.
func checkAll(s *session) error {
	lines, err := query(s, "PRAGMA quick_check(5)", nil, func(line *string) []any { return []any{line} })
	if err != nil {
		return err
	}
	return verdict("", lines)
}

// verdict is what quick_check's lines mean.
func verdict(table string, lines []string) error {
	if len(lines) == 1 && lines[0] == "ok" {
		return nil
	}
	text := "quick_check: " + strings.Join(lines[:min(len(lines), 5)], "; ")
	if table != "" {
		text = "table " + table + ": " + text
	}
	return fmt.Errorf("%s: %w", text, store.ErrCorrupt)
}

// CheckReadings looks for damage in everything that opening has not read, a table
// at a time, and names the table. Claims go on meanwhile.
func (db *DB) CheckReadings(ctx context.Context) error {
	var all []string
	err := db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name", nil,
			func(name *string) []any { return []any{name} })
		return err
	})
	for _, table := range all {
		if err == nil && !slices.Contains(promised, table) {
			err = db.reading(ctx, func(s *session) error { return s.checkWhile(ctx, table) })
		}
	}
	if err != nil {
		return fmt.Errorf("check store %s: %w", db.path, err)
	}
	return nil
}

// checkWhile checks one table until ctx ends: reading a year of readings may take
// minutes.
func (s *session) checkWhile(ctx context.Context, table string) error {
	rows, err := s.conn.QueryContext(ctx, "PRAGMA quick_check('"+table+"')")
	if err != nil {
		return fmt.Errorf("table %s: %w", table, translate(err))
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("table %s: %w", table, translate(err))
		}
		lines = append(lines, line)
	}
	if err := errors.Join(ctx.Err(), translate(rows.Err())); err != nil {
		return fmt.Errorf("table %s: %w", table, err)
	}
	return verdict(table, lines)
}
