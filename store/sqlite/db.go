package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"github.com/vireo-kvm/vireo/store"
)

// readers is how many Views run at a time; more wait.
const readers = 4

// DB is one open store. It is both store.Store and store.Readings.
type DB struct {
	path     string
	lock     *lock
	pools    []*sql.DB
	sessions []*session    // all of them, the writer first
	write    chan *session // holds the one writer while nobody writes
	read     chan *session
	opened   bool // write and read are filled
	closed   chan struct{}
	once     sync.Once

	mu       sync.Mutex
	identity store.Identity
}

var (
	_ store.Store    = (*DB)(nil)
	_ store.Readings = (*DB)(nil)
)

// Open opens the store at path, creating it when there is no file, checks it,
// brings its schema up to date and raises its term. It fails with ErrLocked when
// another manager has it open, ErrCorrupt when it is damaged, ErrNewer when a
// newer version has written it, ErrCopy when it is not the file that was opened
// last and ErrFull when the term cannot be written.
func Open(ctx context.Context, path string) (*DB, error) {
	db, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

func open(ctx context.Context, path string) (_ *DB, err error) {
	all, err := steps(schemaFiles)
	if err != nil {
		return nil, err
	}
	if path, err = realPath(path); err != nil {
		return nil, err
	}
	db := &DB{path: path, write: make(chan *session, 1), read: make(chan *session, readers), closed: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if db.lock, err = lockBeside(path); err != nil {
		return nil, err
	}
	// SQLite would make it readable for everybody; it names every guest.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	writer, err := db.connect(ctx, 1, nil)
	if err != nil {
		return nil, err
	}
	if err := upgrade(writer[0], all); err != nil {
		return nil, err
	}
	if err := check(writer[0], promised...); err != nil {
		return nil, err
	}
	if err := db.begin(writer[0]); err != nil {
		return nil, err
	}
	pool, err := db.connect(ctx, readers, url.Values{"_query_only": {"true"}})
	if err != nil {
		return nil, err
	}
	db.write <- writer[0]
	for _, s := range pool {
		db.read <- s
	}
	db.opened = true
	return db, nil
}

// connect opens n connections of one kind. Everything that makes a connection
// what it is stands in the DSN.
func (db *DB) connect(ctx context.Context, n int, more url.Values) ([]*session, error) {
	params := url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"true"},
		"_busy_timeout": {"10000"}, // ms; only another program with the file open makes us wait
		"_cache_size":   {"-8000"}, // KiB, of each connection
	}
	for k, v := range more {
		params[k] = v
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: db.path}).EscapedPath(), RawQuery: params.Encode()}
	pool, err := sql.Open("sqlite3", dsn.String())
	if err != nil {
		return nil, err
	}
	db.pools = append(db.pools, pool)
	pool.SetMaxOpenConns(n)
	sessions := make([]*session, n)
	for i := range sessions {
		if sessions[i], err = newSession(ctx, pool); err != nil {
			return nil, err
		}
		db.sessions = append(db.sessions, sessions[i])
	}
	return sessions, nil
}

// begin raises the term and says who is here.
func (db *DB) begin(s *session) error {
	id := store.Identity{Instance: newInstance()}
	here, err := homeOf(db.path)
	if err != nil {
		return err
	}
	err = s.transaction(func() error {
		var home string
		if err := s.row("SELECT home FROM meta", nil, &home); err != nil {
			return err
		}
		if home != "" && home != here {
			return fmt.Errorf("last opened as %s, this is %s; vireo-manager restore begins a new generation with it: %w", home, here, store.ErrCopy)
		}
		if _, err := s.exec("UPDATE meta SET term = term + 1, instance = ?, home = ?", id.Instance, here); err != nil {
			return err
		}
		return s.row("SELECT generation, term FROM meta", nil, &id.Generation, &id.Term)
	})
	db.identity = id
	return err
}

func newInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Identity is that of this opening.
func (db *DB) Identity() store.Identity {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.identity
}

// NewGeneration implements store.Store.
func (db *DB) NewGeneration(ctx context.Context, seen uint64) (store.Identity, error) {
	err := db.writing(ctx, func(s *session) error {
		id := db.Identity()
		id.Generation = max(id.Generation, seen) + 1
		err := s.transaction(func() error {
			if err := db.fence(s); err != nil {
				return err
			}
			s.given += store.EpochLeap
			_, err := s.exec("UPDATE meta SET generation = ?", id.Generation)
			return err
		})
		if err != nil {
			return fmt.Errorf("new generation: %w", err)
		}
		db.mu.Lock()
		defer db.mu.Unlock()
		db.identity = id
		return nil
	})
	return db.Identity(), err
}

// fence refuses to go on when another manager has opened the file. It also reads
// the epoch counter, which only the fenced may use.
func (db *DB) fence(s *session) error {
	var now store.Identity
	if err := s.row("SELECT generation, term, instance, epoch FROM meta", nil, &now.Generation, &now.Term, &now.Instance, &s.given); err != nil {
		return err
	}
	s.stored = s.given
	if mine := db.Identity(); now != mine {
		return fmt.Errorf("generation %d term %d of instance %s, this is generation %d term %d of instance %s: %w",
			now.Generation, now.Term, now.Instance, mine.Generation, mine.Term, mine.Instance, store.ErrFenced)
	}
	return nil
}

// Update implements store.Store.
func (db *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	return db.update(ctx, func(s *session) error { return f(tx{s}) })
}

// View implements store.Store.
func (db *DB) View(ctx context.Context, f func(store.Reader) error) error {
	return db.reading(ctx, func(s *session) error { return f(tx{s}) })
}

// update is one fenced transaction of the writer.
func (db *DB) update(ctx context.Context, f func(*session) error) error {
	return db.writing(ctx, func(s *session) error {
		return s.transaction(func() error {
			if err := db.fence(s); err != nil {
				return err
			}
			return f(s)
		})
	})
}

// writing lends the writer, reading a reader within a transaction.
func (db *DB) writing(ctx context.Context, f func(*session) error) error {
	return db.lend(ctx, db.write, f)
}

func (db *DB) reading(ctx context.Context, f func(*session) error) error {
	return db.lend(ctx, db.read, func(s *session) error {
		return s.snapshot(func() error { return f(s) })
	})
}

func (db *DB) lend(ctx context.Context, from chan *session, f func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s := <-from:
		defer func() { from <- s }()
		return f(s)
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closed:
		return store.ErrClosed
	}
}

// Close waits for transactions under way. Closing twice is no error.
func (db *DB) Close() error {
	var errs []error
	db.once.Do(func() {
		close(db.closed)
		if db.opened {
			for range readers {
				<-db.read
			}
			<-db.write
		}
		for _, s := range slices.Backward(db.sessions) { // the writer last: it empties the log
			errs = append(errs, s.close())
		}
		for _, pool := range slices.Backward(db.pools) {
			errs = append(errs, pool.Close())
		}
		if db.lock != nil {
			db.lock.release()
		}
	})
	return errors.Join(errs...)
}
