package etcd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/vireo-kvm/vireo/store"
)

// format of everything below the prefix; a store of a higher one is not touched.
const format = 1

// DB is the store of the manager that leads: store.Store. It ends with the lease;
// from then on every method fails.
type DB struct {
	c    *client
	own  bool // the connection ends with it
	won  won
	now  atomic.Pointer[state]
	keep *lease

	writer   chan struct{} // holds a token while nobody writes
	revision int64         // of head, as the writer knows it
	staged   []change      // committed and not yet in their places; the writer's

	lost   chan struct{} // closed when it leads no more
	losing sync.Once
	closed chan struct{}
	once   sync.Once

	tidying sync.WaitGroup
}

var _ store.Store = (*DB)(nil)

// won is the key in the election.
type won struct {
	key      string
	revision int64 // at which it was created
}

func (db *DB) state() *state { return db.now.Load() }

// Identity implements store.Store.
func (db *DB) Identity() store.Identity {
	h := db.state().head
	return store.Identity{Generation: h.Generation, Term: h.Term, Instance: h.Instance}
}

// Update implements store.Store. It returns, with an error, when the lease ends.
func (db *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	return db.writing(ctx, func() error {
		t := newTx(db.state(), db.evidence(context.WithoutCancel(ctx)))
		if err := f(t); err != nil {
			return err
		}
		return db.end(t)
	})
}

// end commits a transaction and shows what it did.
func (db *DB) end(t *tx) error {
	t.head.Serial++
	h, err := db.commit(t.head, sorted(t.changes))
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	db.now.Store(&state{head: h, tree: t.tree})
	if err := db.finish(); err != nil {
		// The Update has happened all the same. The next one tries again.
		db.c.o.Log.Warn("a large update is not yet in its place", "err", err)
	}
	return nil
}

// NewGeneration implements store.Store.
func (db *DB) NewGeneration(ctx context.Context, seen uint64) (store.Identity, error) {
	err := db.writing(ctx, func() error {
		t := newTx(db.state(), nil)
		t.head.renew(seen)
		return db.end(t)
	})
	if err != nil {
		err = fmt.Errorf("new generation: %w", err)
	}
	return db.Identity(), err
}

// renew begins a new generation.
func (h *head) renew(seen uint64) {
	h.Generation = max(h.Generation, seen) + 1
	h.Epoch += store.EpochLeap
}

// writing runs f while nobody else writes.
func (db *DB) writing(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.closing() {
		return store.ErrClosed
	}
	select {
	case <-db.writer:
		defer func() { db.writer <- struct{}{} }()
		if db.closing() {
			return store.ErrClosed
		}
		if err := db.leading(); err != nil {
			return err
		}
		if err := db.finish(); err != nil {
			return err
		}
		return f()
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closed:
		return store.ErrClosed
	}
}

// View implements store.Store. What is in memory is true while this manager
// leads, and only etcd knows whether it does.
func (db *DB) View(ctx context.Context, f func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.closing() {
		return store.ErrClosed
	}
	if err := db.leading(); err != nil {
		return err
	}
	if err := db.confirm(ctx); err != nil {
		return err
	}
	s := db.state()
	return f(&reader{head: s.head, tree: s.tree, evidence: db.evidence(ctx)})
}

// confirm asks etcd whether this manager is still the last that has written.
func (db *DB) confirm(ctx context.Context) error {
	lctx, cancel := db.whileLeading()
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	h, _, err := db.c.readHead(lctx)
	switch mine := db.Identity(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("confirm the lead: %w", errors.Join(db.leading(), err))
	case h.Instance != mine.Instance:
		db.lose()
		return fmt.Errorf("generation %d term %d of instance %s, this is term %d of instance %s: %w",
			h.Generation, h.Term, h.Instance, mine.Term, mine.Instance, store.ErrFenced)
	}
	return nil
}

func (db *DB) evidence(ctx context.Context) func(id string, parts int) ([]byte, error) {
	return func(id string, parts int) ([]byte, error) {
		lctx, cancel := db.whileLeading()
		defer cancel()
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		return db.c.readEvidence(lctx, id, parts)
	}
}

// whileLeading is a context that ends with the lead.
func (db *DB) whileLeading() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-db.lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// leading is ErrFenced when the lead is known to be lost.
func (db *DB) leading() error {
	if isClosed(db.lost) {
		return fmt.Errorf("the lead of term %d is lost: %w", db.Identity().Term, store.ErrFenced)
	}
	return nil
}

// OwnConnection makes Close end the client's connection too.
func (db *DB) OwnConnection() { db.own = true }

// Leads says whether the lease stands at this moment. Nothing may be answered
// when it does not.
func (db *DB) Leads() bool { return !db.closing() && !isClosed(db.lost) && db.keep.stands() }

// Lost is closed when this manager leads no more.
func (db *DB) Lost() <-chan struct{} { return db.lost }

func (db *DB) lose() { db.losing.Do(func() { close(db.lost) }) }

func (db *DB) closing() bool { return isClosed(db.closed) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Close waits for the transaction under way and gives the lead away at once.
// Closing twice is no error.
func (db *DB) Close() error {
	var errs []error
	db.once.Do(func() {
		close(db.closed)
		<-db.writer
		db.lose()
		db.tidying.Wait()
		db.keep.end()
		if db.own {
			errs = append(errs, (&Client{db.c}).Close())
		}
	})
	return errors.Join(errs...)
}

// random is a new id.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
