package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/vireo-kvm/vireo/store"
)

// session is one connection with its prepared statements; one goroutine uses it
// at a time.
//
// Statements run without the caller's context: interrupting a COMMIT would leave
// open whether it happened, and transactions here are short.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	// broken is the first failure of SQLite itself in this transaction. SQLite
	// may have rolled back on its own then, and whatever came after would be a
	// transaction of its own: so nothing comes after.
	broken error
	// given is the last epoch given out, as this transaction knows it: read by the
	// fence, written once before the commit if it has grown from stored.
	given, stored uint64
}

func newSession(ctx context.Context, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return &session{conn: conn, stmts: make(map[string]*sql.Stmt)}, nil
}

func (s *session) close() error {
	for _, st := range s.stmts {
		_ = st.Close()
	}
	return s.conn.Close()
}

// transaction runs f between BEGIN IMMEDIATE and COMMIT, or rolls back.
func (s *session) transaction(f func() error) error { return s.within("BEGIN IMMEDIATE", "COMMIT", f) }

// snapshot runs f on one state of the file.
func (s *session) snapshot(f func() error) error { return s.within("BEGIN", "ROLLBACK", f) }

func (s *session) within(begin, end string, f func() error) (err error) {
	s.broken, s.given, s.stored = nil, 0, 0
	if _, err := s.exec(begin); err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // f failed or panicked, or so did the end
			s.broken = nil
			_, _ = s.exec("ROLLBACK") // fails when SQLite has done it itself
		}
	}()
	if err := f(); err != nil {
		return err
	}
	if s.given != s.stored {
		if _, err := s.exec("UPDATE meta SET epoch = ?", s.given); err != nil {
			return err
		}
	}
	if _, err := s.exec(end); err != nil { // s.broken, when f has swallowed it
		return err
	}
	ended = true
	return nil
}

func (s *session) prepared(query string) (*sql.Stmt, error) {
	if st, ok := s.stmts[query]; ok {
		return st, nil
	}
	st, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

// fail translates an error and remembers it, unless the statement alone failed.
func (s *session) fail(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) && e.Code == sqlite3.ErrConstraint {
		return translate(err)
	}
	s.broken = translate(err)
	return s.broken
}

// exec returns the number of rows that changed.
func (s *session) exec(query string, args ...any) (int64, error) {
	res, err := s.run(query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *session) run(query string, args ...any) (sql.Result, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	st, err := s.prepared(query)
	if err != nil {
		return nil, s.fail(err)
	}
	res, err := st.ExecContext(context.Background(), args...)
	if err != nil {
		return nil, s.fail(err)
	}
	return res, nil
}

// script runs several statements, unprepared.
func (s *session) script(text string) error {
	if s.broken != nil {
		return s.broken
	}
	if _, err := s.conn.ExecContext(context.Background(), text); err != nil {
		return s.fail(err)
	}
	return nil
}

// row scans the one row of a query into dest; ErrNotFound when there is none.
func (s *session) row(query string, args []any, dest ...any) error {
	if s.broken != nil {
		return s.broken
	}
	st, err := s.prepared(query)
	if err != nil {
		return s.fail(err)
	}
	err = st.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// query scans every row into a new T whose columns are fields.
func query[T any](s *session, text string, args []any, fields func(*T) []any) ([]T, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	st, err := s.prepared(text)
	if err != nil {
		return nil, s.fail(err)
	}
	rows, err := st.QueryContext(context.Background(), args...)
	if err != nil {
		return nil, s.fail(err)
	}
	defer rows.Close()
	// In chunks that are joined once: a fleet's claims are not copied over and
	// over while the list grows. One value is scanned into, with one list of
	// pointers to its fields.
	var chunks [][]T
	var chunk []T
	var v, none T
	to := fields(&v)
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return nil, s.fail(err)
		}
		if len(chunk) == chunkRows {
			chunks, chunk = append(chunks, chunk), make([]T, 0, chunkRows)
		}
		chunk = append(chunk, v)
		v = none // a document that says nothing of a field leaves it
	}
	if err := rows.Err(); err != nil {
		return nil, s.fail(err)
	}
	if len(chunks) == 0 {
		return chunk, nil
	}
	return slices.Concat(append(chunks, chunk)...), nil
}

const chunkRows = 4096

// translate puts the store's error around SQLite's, by code.
func translate(err error) error {
	var unsupported *json.UnsupportedValueError // a document with a number that is none
	if errors.As(err, &unsupported) {
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code == sqlite3.ErrFull, e.ExtendedCode == sqlite3.ErrIoErrSHMSize,
		e.Code == sqlite3.ErrIoErr && (e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case e.Code == sqlite3.ErrCorrupt, e.Code == sqlite3.ErrNotADB:
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	case e.Code == sqlite3.ErrConstraint && e.ExtendedCode != sqlite3.ErrConstraintForeignKey:
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return err
}

// isForeignKey says that a record names one that does not exist, or is named.
func isForeignKey(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrConstraintForeignKey
}
