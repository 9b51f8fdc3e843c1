package etcdmodel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vireo-kvm/vireo/store"
)

// ErrHeld: the key of another leader stands in the election. A candidate waits.
var ErrHeld = errors.New("another manager leads")

// Cluster is the etcd that all managers share.
type Cluster struct {
	mu     sync.Mutex
	now    *state
	leader *DB // whose key stands in the election; nil: nobody's
	won    int // counts elections
}

// New is an empty one.
func New() *Cluster { return &Cluster{now: &state{head: head{Generation: 1}, tree: newTree()}} }

// Leader is who has last raised the term. Whether it still leads only its lease
// knows.
type Leader struct {
	Name       string // "" while nobody has ever led
	Generation uint64
	Term       uint64
}

// Leader says who has last won.
func (c *Cluster) Leader() Leader {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Leader{c.now.head.Leader, c.now.head.Generation, c.now.head.Term}
}

// Held says whether the key of a leader stands in the election.
func (c *Cluster) Held() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader != nil
}

// Revision counts what was committed.
func (c *Cluster) Revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.revision
}

// Campaign wins the election for a manager, or is ErrHeld. It raises the term:
// from here on no other handle writes.
func (c *Cluster) Campaign(name string) (*DB, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader != nil {
		return nil, fmt.Errorf("%s: %w", c.leader.name, ErrHeld)
	}
	c.won++
	db := &DB{c: c, name: name}
	next := *c.now
	next.head.Term++
	next.head.Instance, next.head.Leader = fmt.Sprintf("%s-%d", name, c.won), name
	next.revision++
	c.now, c.leader, db.mine = &next, db, &next
	return db, nil
}

// Network is what becomes of a handle's requests.
type Network int

// The values are for one process's memory only.
const (
	Whole Network = iota
	Cut           // nothing reaches etcd
	Deaf          // requests reach etcd, answers do not come back
)

// DB is the store of one manager that has won: store.Store.
type DB struct {
	c    *Cluster
	name string

	// What follows is guarded by c.mu.
	mine    *state // what it has last seen: after its own last commit, nobody else writes
	network Network
	lost    bool // it knows that it leads no more
	closed  bool
}

var _ store.Importer = (*DB)(nil)

// Network sets what becomes of its requests from now on.
func (db *DB) Network(n Network) {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	db.network = n
}

// EndLease lets its lease end at etcd: whoever campaigns next wins. The handle does
// not learn of it. The lease of one that leads no more has ended already.
func (db *DB) EndLease() {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	db.resign()
}

// Holds says whether its key stands in the election: whether it leads in truth.
func (db *DB) Holds() bool {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	return db.c.leader == db
}

func (db *DB) resign() {
	if db.c.leader == db {
		db.c.leader = nil
	}
}

// Leads says whether it leads as far as it knows. The time of its lease is the
// driver's matter.
func (db *DB) Leads() bool {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	return !db.lost && !db.closed
}

// Identity implements store.Store.
func (db *DB) Identity() store.Identity {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	return db.identity()
}

func (db *DB) identity() store.Identity {
	return store.Identity{Generation: db.mine.head.Generation, Term: db.mine.head.Term, Instance: db.mine.head.Instance}
}

// Update implements store.Store. f runs on what this handle has last seen, as the
// leader's does in its memory; the commit finds out whether that still holds.
func (db *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	return db.write(ctx, func(t *tx) error { return f(t) })
}

// NewGeneration implements store.Store.
func (db *DB) NewGeneration(ctx context.Context, seen uint64) (store.Identity, error) {
	err := db.write(ctx, func(t *tx) error {
		t.head.Generation = max(t.head.Generation, seen) + 1
		t.head.Epoch += store.EpochLeap
		return nil
	})
	if err != nil {
		err = fmt.Errorf("new generation: %w", err)
	}
	return db.Identity(), err
}

func (db *DB) write(ctx context.Context, f func(*tx) error) error {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	if err := db.open(ctx); err != nil {
		return err
	}
	t := newTx(db.mine)
	if err := f(t); err != nil {
		return err
	}
	return db.commit(&state{head: t.head, tree: t.tree, revision: db.mine.revision + 1})
}

// open says why nothing can be asked of it.
func (db *DB) open(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case db.closed:
		return store.ErrClosed
	case db.lost:
		return fmt.Errorf("the lead of term %d is lost: %w", db.mine.head.Term, store.ErrFenced)
	}
	return nil
}

// commit makes the next state true, if the fence stands.
func (db *DB) commit(next *state) error {
	if db.network == Cut {
		db.lost = true // it was repeated for as long as the lease has lasted
		return fmt.Errorf("commit: whether it happened is unknown: %w", errUnanswered)
	}
	fenced := db.fence()
	if fenced == nil {
		db.c.now = next
	}
	if db.network == Deaf {
		db.lost = true
		return fmt.Errorf("commit: whether it happened is unknown: %w", errUnanswered)
	}
	if fenced != nil {
		db.lost = true
		return fmt.Errorf("commit: %w", fenced)
	}
	db.mine = next
	return nil
}

var errUnanswered = errors.New("no answer from etcd")

// fence is what every write of this leader needs: its key stands, and nobody has
// written since.
func (db *DB) fence() error {
	switch now := db.c.now; {
	case now.head.Instance != db.mine.head.Instance:
		return fmt.Errorf("generation %d term %d of instance %s, this is term %d of instance %s: %w",
			now.head.Generation, now.head.Term, now.head.Instance, db.mine.head.Term, db.mine.head.Instance, store.ErrFenced)
	case db.c.leader != db, now != db.mine:
		return fmt.Errorf("the lease of term %d has ended: %w", db.mine.head.Term, store.ErrFenced)
	}
	return nil
}

// View implements store.Store.
func (db *DB) View(ctx context.Context, f func(store.Reader) error) error {
	s, err := db.confirmed(ctx)
	if err != nil {
		return err
	}
	return f(&reader{state: *s})
}

// confirmed is the state, if etcd says that this manager is the last that has
// written.
func (db *DB) confirmed(ctx context.Context) (*state, error) {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	if err := db.open(ctx); err != nil {
		return nil, err
	}
	if db.network != Whole {
		db.lost = true
		return nil, fmt.Errorf("confirm the lead: %w", errUnanswered)
	}
	if now := db.c.now; now.head.Instance != db.mine.head.Instance {
		db.lost = true
		return nil, fmt.Errorf("confirm the lead: %w", db.fence())
	}
	return db.mine, nil
}

// Close gives the lead away at once, if etcd can be reached; its lease ends when
// the driver says so otherwise. Closing twice is no error.
func (db *DB) Close() error {
	db.c.mu.Lock()
	defer db.c.mu.Unlock()
	db.closed = true
	if db.network == Whole {
		db.resign()
	}
	return nil
}

// Import implements store.Importer.
func (db *DB) Import(ctx context.Context, w store.Whole, from string) error {
	err := db.write(ctx, func(t *tx) error {
		if n := t.tree.Len(); n > 0 && !t.has(settings, store.SettingMoved) {
			return fmt.Errorf("it holds %d records: %w", n, store.ErrReferenced)
		}
		t.tree.Clear(false)
		t.head.Generation = max(t.head.Generation, w.Generation) + 1
		t.head.Term = max(t.head.Term, w.Term)
		t.head.Epoch = max(t.head.Epoch, w.Epoch)
		if err := w.Put(t, t.insertEvent); err != nil {
			return err
		}
		return t.PutSetting(store.Setting{Key: store.SettingFrom, Value: from})
	})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}
