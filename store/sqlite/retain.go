package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// One transaction of retention deletes about this many rows, and looks at no more
// than this many series, so that a claim's change waits some 30 ms for it at most:
// a row costs about 3 µs, a series that has something to sum up 100 µs.
const (
	retainRows   = 4000
	retainSeries = 250
)

// cutoffs are times before which things go; math.MinInt64: nothing does.
type cutoffs struct{ raw, hourly, daily int64 }

func cutoff(now time.Time, keep time.Duration) int64 {
	if keep <= 0 {
		return math.MinInt64
	}
	return now.Add(-keep).UnixNano()
}

// Retain implements store.Readings.
func (db *DB) Retain(ctx context.Context, now time.Time, r store.Retention) (done store.Retained, err error) {
	c := cutoffs{cutoff(now, r.Raw), cutoff(now, r.Hourly), cutoff(now, r.Daily)}
	for series := int64(0); series >= 0 && err == nil; {
		var pass store.Retained
		next := series
		err = db.update(ctx, func(s *session) (err error) {
			pass, next, err = retainFrom(s, series, c)
			return err
		})
		if err == nil {
			series = next
			done.Readings += pass.Readings
			done.Rollups += pass.Rollups
		}
	}
	if err == nil {
		err = db.retainRisks(ctx, c, &done)
	}
	if err != nil {
		return done, fmt.Errorf("retention: %w", err)
	}
	return done, nil
}

// retainFrom goes on at the first series with at least this id, and returns the
// id to go on at, -1 at the end.
func retainFrom(s *session, from int64, c cutoffs) (done store.Retained, next int64, err error) {
	type one struct{ id, lastAt int64 }
	all, err := query(s, "SELECT id, last_at FROM series WHERE id >= ? ORDER BY id LIMIT ?", []any{from, retainSeries},
		func(o *one) []any { return []any{&o.id, &o.lastAt} })
	if err != nil {
		return done, 0, err
	}
	for _, sr := range all {
		left := retainRows - done.Readings - done.Rollups
		if left <= 0 {
			return done, sr.id, nil
		}
		finished, err := retainReadings(s, sr.id, sr.lastAt, c.raw, left, &done)
		if err != nil {
			return done, 0, err
		}
		if !finished {
			return done, sr.id, nil
		}
		if err := retainSummed(s, sr.id, sr.lastAt, c, &done); err != nil {
			return done, 0, err
		}
	}
	if len(all) < retainSeries {
		return done, -1, nil
	}
	return done, all[len(all)-1].id + 1, nil
}

// retainReadings sums up and deletes at most limit of a series' oldest readings,
// as far as they are before the cutoff: all windows in one statement, because
// readings an hour or a day apart have as many windows as there are readings. A
// window that is cut in two is merged with what comes of it later. The series'
// newest reading always stays.
func retainReadings(s *session, id, lastAt, before int64, limit int, done *store.Retained) (finished bool, err error) {
	n, newest := 0, int64(math.MinInt64)
	err = s.row(oldestReadings, []any{id, min(before, lastAt), limit, newest}, &n, &newest)
	if err != nil || n == 0 {
		return true, err
	}
	for _, width := range []store.Width{store.Hourly, store.Daily} {
		if _, err := s.exec(sumUp, int64(width), id, newest); err != nil {
			return false, err
		}
	}
	_, err = s.exec("DELETE FROM readings WHERE series = ? AND at <= ?", id, newest)
	done.Readings += n
	return n < limit, err
}

// oldestReadings are how many of a series' readings before a time there are, up
// to a limit, and when the newest of those was observed.
const oldestReadings = "SELECT count(*), coalesce(max(at), ?4) FROM (SELECT at FROM readings WHERE series = ?1 AND at < ?2 ORDER BY at LIMIT ?3)"

// sumUp adds the readings of a series until a time, that included, to its roll-ups
// of one width.
var sumUp = "INSERT INTO rollups (series, start, min, max, last, last_at, width) SELECT *, ?1 FROM (" +
	fmt.Sprintf(summed, "r.series = ?2 AND r.at <= ?3") + ") WHERE true " +
	"ON CONFLICT (series, width, start) DO UPDATE SET min = min(min, excluded.min), max = max(max, excluded.max), " +
	"last = iif(excluded.last_at >= last_at, excluded.last, last), last_at = max(last_at, excluded.last_at)"

// retainSummed deletes old roll-ups, and the series with its last reading when
// nothing was heard of it for as long as daily roll-ups are kept.
func retainSummed(s *session, id, lastAt int64, c cutoffs, done *store.Retained) error {
	for width, before := range map[store.Width]int64{store.Hourly: c.hourly, store.Daily: c.daily} {
		if before == math.MinInt64 {
			continue
		}
		n, err := s.exec("DELETE FROM rollups WHERE series = ? AND width = ? AND start < ?", id, int64(width), before-int64(width))
		if err != nil {
			return err
		}
		done.Rollups += int(n)
	}
	if lastAt >= c.daily {
		return nil
	}
	n, err := s.exec("DELETE FROM readings WHERE series = ?", id)
	if err != nil {
		return err
	}
	done.Readings += int(n)
	_, err = s.exec("DELETE FROM series WHERE id = ?", id) // its last roll-ups go with it
	return err
}

// retainRisks thins the risks' history, one component per transaction: after
// the time of raw readings one a day stays, the last.
func (db *DB) retainRisks(ctx context.Context, c cutoffs, done *store.Retained) error {
	type component struct{ host, name string }
	var all []component
	err := db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT host, component FROM risks r WHERE EXISTS (SELECT 1 FROM risk_history h "+
			"WHERE h.host = r.host AND h.component = r.component AND h.at < ?)", []any{max(c.raw, c.daily)},
			func(c *component) []any { return []any{&c.host, &c.name} })
		return err
	})
	if err != nil {
		return err
	}
	for _, one := range all {
		err := db.update(ctx, func(s *session) error {
			n, err := s.exec("DELETE FROM risk_history WHERE host = ?1 AND component = ?2 AND (at < ?3 OR at < ?4 AND EXISTS ("+
				"SELECT 1 FROM risk_history later WHERE later.host = ?1 AND later.component = ?2 AND later.at > risk_history.at "+
				"AND later.at < (risk_history.at / ?5 + 1) * ?5))", one.host, one.name, c.daily, c.raw, int64(store.Daily))
			done.Risks += int(n)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
