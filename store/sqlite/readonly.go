package sqlite

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// ReadOnly is a store opened to be looked at, beside a manager that may have it
// open: it takes no lock and no term, and writes nothing.
type ReadOnly struct{ db *DB }

// OpenReadOnly opens the store at path. It fails with ErrNewer or ErrCorrupt
// when the file is not a store of this version.
func OpenReadOnly(ctx context.Context, path string) (*ReadOnly, error) {
	r, err := openReadOnly(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read store %s: %w", path, err)
	}
	return r, nil
}

func openReadOnly(ctx context.Context, path string) (*ReadOnly, error) {
	all, err := steps(schemaFiles)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if path, err = realPath(path); err != nil {
		return nil, err
	}
	db := &DB{path: path, read: make(chan *session, 1), closed: make(chan struct{})}
	sessions, err := db.connect(ctx, 1, url.Values{"mode": {"ro"}, "_query_only": {"true"}, "_journal_mode": {}})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	var application, version int
	for pragma, v := range map[string]*int{"PRAGMA application_id": &application, "PRAGMA user_version": &version} {
		if err := sessions[0].row(pragma, nil, v); err != nil {
			_ = db.Close()
			return nil, err
		}
	}
	if application != applicationID || version != len(all) {
		_ = db.Close()
		return nil, fmt.Errorf("application id %#x with schema %d, expected a vireo store with schema %d (a manager of this version brings it up to date)",
			application, version, len(all))
	}
	db.read <- sessions[0]
	return &ReadOnly{db}, nil
}

// Close gives the file back.
func (r *ReadOnly) Close() error {
	<-r.db.read
	return r.db.Close()
}

// Hosts are those of whom anything was read, sorted.
func (r *ReadOnly) Hosts(ctx context.Context) (hosts []string, err error) {
	err = r.db.reading(ctx, func(s *session) (err error) {
		hosts, err = query(s, "SELECT DISTINCT host FROM series ORDER BY host", nil, func(h *string) []any { return []any{h} })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hosts with readings: %w", err)
	}
	return hosts, nil
}

// View runs f on one consistent state.
func (r *ReadOnly) View(ctx context.Context, f func(store.Reader) error) error {
	return r.db.View(ctx, f)
}

// Latest, Rollups and RiskHistory are those of store.Readings.
func (r *ReadOnly) Latest(ctx context.Context, host string) ([]signal.Reading, error) {
	return r.db.Latest(ctx, host)
}

// Rollups sum a host's values up.
func (r *ReadOnly) Rollups(ctx context.Context, q store.Query, width store.Width) ([]store.Rollup, error) {
	return r.db.Rollups(ctx, q, width)
}

// RiskHistory is what the model said of a host's components.
func (r *ReadOnly) RiskHistory(ctx context.Context, host, component string, since time.Time) ([]store.ComponentRisk, error) {
	return r.db.RiskHistory(ctx, host, component, since)
}
