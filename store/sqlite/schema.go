package sqlite

import (
	"embed"
	"fmt"
	"io/fs"
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

// check looks for damage. It reads the whole file once.
func check(s *session) error {
	rows, err := query(s, "PRAGMA quick_check(5)", nil, func(line *string) []any { return []any{line} })
	if err != nil {
		return err
	}
	if len(rows) == 1 && rows[0] == "ok" {
		return nil
	}
	return fmt.Errorf("quick_check: %s: %w", strings.Join(rows, "; "), store.ErrCorrupt)
}
