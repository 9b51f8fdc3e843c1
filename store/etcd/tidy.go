package etcd

import (
	"context"
	"time"
)

// keepHistory is how long etcd keeps what records were before: without an end it
// would keep each change for ever, until it has no room. Nobody here reads it but a
// leader that loads everything, page by page.
const keepHistory = 5 * time.Minute

// tidy forgets history while this manager leads.
func (db *DB) tidy() {
	ctx, cancel := db.whileLeading()
	defer cancel()
	for wait(ctx, keepHistory) == nil {
		revision, err := db.settled(ctx)
		if err != nil {
			continue
		}
		if wait(ctx, keepHistory) != nil {
			return
		}
		db.compact(ctx, revision)
	}
}

// settled is the revision as it is now.
func (db *DB) settled(ctx context.Context) (int64, error) {
	_, revision, err := db.c.readHead(ctx)
	return revision, err
}

// compact forgets what was before a revision.
func (db *DB) compact(ctx context.Context, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, pageAttempt)
	defer cancel()
	if _, err := db.c.etcd.Compact(ctx, revision); err != nil {
		db.c.o.Log.Warn("etcd did not forget its history", "revision", revision, "err", err)
	}
}
