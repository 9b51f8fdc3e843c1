package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/vireo-kvm/vireo/store"
)

// again is how long a candidate waits after an election that it could not take
// part in.
const again = 200 * time.Millisecond

// Open connects and campaigns: the store of one manager that needs to know of no
// other. It waits, until ctx ends, while another one leads.
func Open(ctx context.Context, o Options) (*DB, error) {
	c, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	db, err := c.Campaign(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	db.OwnConnection()
	return db, nil
}

// Campaign waits until this manager leads, raises the term and reads the store.
// It goes on through every failure that may pass, until ctx ends.
func (c *Client) Campaign(ctx context.Context) (*DB, error) {
	for {
		db, err := c.c.campaign(ctx)
		if err == nil {
			return db, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("campaign: %w (%w)", ctx.Err(), err)
		}
		for _, final := range []error{store.ErrForeign, store.ErrNewer, store.ErrCorrupt, store.ErrFull} {
			if errors.Is(err, final) {
				return nil, fmt.Errorf("campaign: %w", err)
			}
		}
		c.c.o.Log.Warn("this manager could not take part in the election", "err", err)
		_ = wait(ctx, again)
	}
}

func (c *client) campaign(ctx context.Context) (_ *DB, err error) {
	c.inherit(ctx)
	l, err := c.newLease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.end()
		}
	}()
	// The candidacy ends with the lease.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	election := concurrency.NewElection(l.session, c.key(leaderKeys))
	if err := election.Campaign(clientv3.WithRequireLeader(ctx), c.o.Address); err != nil {
		return nil, fmt.Errorf("election: %w", err)
	}
	db := &DB{
		c: c, keep: l, won: won{election.Key(), election.Rev()},
		writer: make(chan struct{}, 1), lost: make(chan struct{}), closed: make(chan struct{}),
	}
	if err := db.take(ctx); err != nil {
		return nil, err
	}
	db.writer <- struct{}{}
	db.tidying.Go(db.tidy)
	go func() {
		select {
		case <-l.over:
			db.lose()
		case <-db.lost:
		}
	}()
	return db, nil
}

// take raises the term with the won key, from where on no other leader writes,
// and reads the store.
func (db *DB) take(ctx context.Context) error {
	h, revision, err := db.c.readHead(ctx)
	if err != nil {
		return err
	}
	if err := db.c.recognise(h); err != nil {
		return err
	}
	if revision == 0 {
		h = head{Format: format, Store: random(), Generation: 1}
	}
	was, err := db.c.recall()
	if err != nil {
		return err
	}
	if db.c.o.Renew || h.Generation < was.Generation || h.Generation == was.Generation && h.Term < was.Term {
		db.c.o.Log.Error("etcd holds another state than this manager has seen: a new generation begins",
			"generation", h.Generation, "term", h.Term, "seen_generation", was.Generation, "seen_term", was.Term)
		h.renew(was.Generation)
		h.Term = max(h.Term, was.Term)
	}
	h.Term++
	h.Instance, h.Leader, h.Serial = random(), db.c.o.Address, 1
	db.revision = revision
	db.now.Store(&state{head: h})
	if err := db.replace(ctx, h, nil); err != nil {
		return fmt.Errorf("raise the term to %s: %w", strconv.FormatUint(h.Term, 10), err)
	}
	db.c.store = h.Store
	if err := db.c.remember(h); err != nil {
		db.c.o.Log.Warn("an etcd with other data would not be noticed", "err", err)
	}
	tree, staged, err := db.c.load(ctx, h, db.revision)
	if err != nil {
		return err
	}
	db.now.Store(&state{head: h, tree: tree})
	db.staged = staged
	return nil
}
