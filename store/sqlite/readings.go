package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// keepAtOnce is how many readings one transaction writes: few enough that a
// claim's change waits some 30 ms for it at most, enough that the disk's flush
// does not count.
const keepAtOnce = 4000

// Keep implements store.Readings.
func (db *DB) Keep(ctx context.Context, batch []signal.Reading) (kept int, err error) {
	for i := range batch {
		r := &batch[i]
		if r.Host == "" || r.Component == "" || r.Signal == "" || r.Status == "" || r.ObservedAt.IsZero() ||
			r.Value != nil && math.IsNaN(*r.Value) {
			return 0, fmt.Errorf("keep reading of host %q, component %q, signal %q, status %q at %v: %w",
				r.Host, r.Component, r.Signal, r.Status, r.ObservedAt, store.ErrInvalid)
		}
	}
	for chunk := range slices.Chunk(batch, keepAtOnce) {
		n := 0
		err := db.update(ctx, func(s *session) (err error) {
			n, err = keep(s, chunk)
			return err
		})
		if err != nil {
			return kept, fmt.Errorf("keep readings: %w", err)
		}
		kept += n
	}
	return kept, nil
}

type seriesKey struct{ host, component, signal string }

// seriesSeen is one series of a batch.
type seriesSeen struct {
	id     int64
	lastAt int64 // of what is stored
	newest int64 // of what is written now
	unit   string
}

func keep(s *session, batch []signal.Reading) (kept int, err error) {
	seen := make(map[seriesKey]*seriesSeen)
	boots := make(map[string]int64)
	for i := range batch {
		r := &batch[i]
		at := r.ObservedAt.UnixNano()
		key := seriesKey{r.Host, r.Component, r.Signal}
		sr := seen[key]
		if sr == nil {
			if sr, err = openSeries(s, key, r.Unit, at); err != nil {
				return 0, err
			}
			seen[key] = sr
		}
		boot, ok := boots[r.BootID]
		if !ok {
			if boot, err = openBoot(s, r.BootID); err != nil {
				return 0, err
			}
			boots[r.BootID] = boot
		}
		n, err := s.exec("INSERT INTO readings (series, at, value, text, status, boot, seq) VALUES (?, ?, ?, ?, ?, ?, ?) "+
			"ON CONFLICT DO NOTHING", sr.id, at, r.Value, r.Text, r.Status, boot, r.Seq)
		if err != nil {
			return 0, err
		}
		kept += int(n)
		if at > sr.newest {
			sr.newest, sr.unit = at, r.Unit
		}
	}
	for _, sr := range seen {
		if sr.newest > sr.lastAt {
			if _, err := s.exec("UPDATE series SET last_at = ?, unit = ? WHERE id = ?", sr.newest, sr.unit, sr.id); err != nil {
				return 0, err
			}
		}
	}
	return kept, nil
}

func openSeries(s *session, k seriesKey, unit string, at int64) (*seriesSeen, error) {
	sr := &seriesSeen{newest: math.MinInt64}
	err := s.row("SELECT id, last_at FROM series WHERE host = ? AND component = ? AND signal = ?",
		[]any{k.host, k.component, k.signal}, &sr.id, &sr.lastAt)
	if errors.Is(err, store.ErrNotFound) {
		sr.lastAt = at
		err = s.row("INSERT INTO series (host, component, signal, unit, last_at) VALUES (?, ?, ?, ?, ?) RETURNING id",
			[]any{k.host, k.component, k.signal, unit, at}, &sr.id)
	}
	return sr, err
}

func openBoot(s *session, bootID string) (id int64, err error) {
	err = s.row("SELECT id FROM boots WHERE boot_id = ?", []any{bootID}, &id)
	if errors.Is(err, store.ErrNotFound) {
		err = s.row("INSERT INTO boots (boot_id) VALUES (?) RETURNING id", []any{bootID}, &id)
	}
	return id, err
}

const readingColumns = "s.host, s.component, s.signal, r.value, r.text, s.unit, r.at, b.boot_id, r.seq, r.status"

const readingTables = " FROM series s JOIN readings r ON r.series = s.id JOIN boots b ON b.id = r.boot"

func readingFields(r *signal.Reading) []any {
	return []any{&r.Host, &r.Component, &r.Signal, &r.Value, &r.Text, &r.Unit, at(&r.ObservedAt), &r.BootID, &r.Seq, &r.Status}
}

// Latest implements store.Readings.
func (db *DB) Latest(ctx context.Context, host string) (all []signal.Reading, err error) {
	err = db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT "+readingColumns+readingTables+" AND r.at = s.last_at WHERE s.host = ? "+
			"ORDER BY s.component, s.signal", []any{host}, readingFields)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("latest readings of host %s: %w", host, err)
	}
	return all, nil
}

// ofSeries are the conditions of a query on the table series as s.
func ofSeries(q store.Query) *conditions {
	c := new(conditions)
	c.and(true, "s.host = ?", q.Host)
	c.and(q.Component != "", "s.component = ?", q.Component)
	c.and(q.Signal != "", "s.signal = ?", q.Signal)
	return c
}

// History implements store.Readings.
func (db *DB) History(ctx context.Context, q store.Query) (all []signal.Reading, err error) {
	c := ofSeries(q)
	c.and(!q.Since.IsZero(), "r.at >= ?", at(&q.Since))
	c.and(!q.Until.IsZero(), "r.at < ?", at(&q.Until))
	err = db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT "+readingColumns+readingTables+c.where()+
			" ORDER BY r.at DESC, s.component DESC, s.signal DESC"+c.limit(q.Limit), c.args, readingFields)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("history of host %s: %w", q.Host, err)
	}
	slices.Reverse(all)
	return all, nil
}

// summed sums up the readings of a series as r by windows; its one parameter is
// the width, three times. %s is a condition on the readings. A second pass over
// the same readings gives the value at the last time.
const summed = "SELECT w.series, w.start, w.low, w.high, l.value, w.last_at FROM (" +
	"SELECT r.series, r.at / ?1 * ?1 AS start, min(r.value) AS low, max(r.value) AS high, max(r.at) AS last_at " +
	"FROM readings r WHERE r.value IS NOT NULL AND %s GROUP BY r.series, r.at / ?1) w " +
	"JOIN readings l ON l.series = w.series AND l.at = w.last_at"

// Rollups implements store.Readings.
func (db *DB) Rollups(ctx context.Context, q store.Query, width store.Width) (all []store.Rollup, err error) {
	if width != store.Hourly && width != store.Daily {
		return nil, fmt.Errorf("roll-ups of %v: %w", time.Duration(width), store.ErrInvalid)
	}
	err = db.reading(ctx, func(s *session) (err error) {
		all, err = rollups(s, q, width)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("roll-ups of host %s: %w", q.Host, err)
	}
	return all, nil
}

// rollups merges what is stored with what the readings still there say: a
// window that retention is just passing through is in both.
func rollups(s *session, q store.Query, width store.Width) ([]store.Rollup, error) {
	since := int64(math.MinInt64)
	if !q.Since.IsZero() {
		since = q.Since.UnixNano()
	}
	until := int64(math.MaxInt64)
	if !q.Until.IsZero() {
		until = q.Until.UnixNano()
	}
	// A window counts as a whole: it is in when its beginning is.
	text := "WITH chosen AS (SELECT id, component, signal FROM series WHERE host = ?2 AND (?3 = '' OR component = ?3) " +
		"AND (?4 = '' OR signal = ?4)) " +
		"SELECT c.component, c.signal, x.start, x.low, x.high, x.value, x.last_at FROM (" +
		fmt.Sprintf(summed, "r.series IN (SELECT id FROM chosen) AND r.at / ?1 * ?1 >= ?5 AND r.at / ?1 * ?1 < ?6") +
		" UNION ALL SELECT series, start, min, max, last, last_at FROM rollups " +
		"WHERE series IN (SELECT id FROM chosen) AND width = ?1 AND start >= ?5 AND start < ?6" +
		") x JOIN chosen c ON c.id = x.series ORDER BY x.start, c.component, c.signal, x.last_at"
	parts, err := query(s, text, []any{int64(width), q.Host, q.Component, q.Signal, since, until}, func(r *store.Rollup) []any {
		return []any{&r.Component, &r.Signal, at(&r.Start), &r.Min, &r.Max, &r.Last, at(&r.LastAt)}
	})
	if err != nil {
		return nil, err
	}
	var all []store.Rollup
	for _, p := range parts {
		if n := len(all); n > 0 && all[n-1].Start.Equal(p.Start) && all[n-1].Component == p.Component && all[n-1].Signal == p.Signal {
			last := &all[n-1]
			last.Min, last.Max = min(last.Min, p.Min), max(last.Max, p.Max)
			last.Last, last.LastAt = p.Last, p.LastAt
			continue
		}
		all = append(all, p)
	}
	if q.Limit > 0 && len(all) > q.Limit {
		all = all[len(all)-q.Limit:]
	}
	return all, nil
}
