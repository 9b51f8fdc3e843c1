package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// One transaction of retention deletes about this many rows, or looks at this
// many series that have nothing to delete, so that claims never wait long.
const (
	retainRows   = 4000
	retainSeries = 1000
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
		finished := false
		for !finished {
			if done.Readings+done.Rollups >= retainRows {
				return done, sr.id, nil
			}
			if finished, err = retainHour(s, sr.id, sr.lastAt, c.raw, &done); err != nil {
				return done, 0, err
			}
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

// retainHour sums up and deletes the readings of a series' oldest hour, as far
// as they are before the cutoff. The series' newest reading always stays.
func retainHour(s *session, id, lastAt, before int64, done *store.Retained) (finished bool, err error) {
	before = min(before, lastAt)
	oldest := int64(math.MaxInt64)
	if err := s.row("SELECT coalesce(min(at), ?) FROM readings WHERE series = ?", []any{oldest, id}, &oldest); err != nil {
		return false, err
	}
	if oldest >= before {
		return true, nil
	}
	hour := int64(store.Hourly)
	before = min(before, (oldest/hour+1)*hour)
	for _, width := range []store.Width{store.Hourly, store.Daily} {
		_, err := s.exec("INSERT INTO rollups (series, start, min, max, last, last_at, width) SELECT *, ?1 FROM ("+
			fmt.Sprintf(summed, "r.series = ?2 AND r.at < ?3")+") WHERE true "+
			"ON CONFLICT (series, width, start) DO UPDATE SET min = min(min, excluded.min), max = max(max, excluded.max), "+
			"last = iif(excluded.last_at >= last_at, excluded.last, last), last_at = max(last_at, excluded.last_at)",
			int64(width), id, before)
		if err != nil {
			return false, err
		}
	}
	n, err := s.exec("DELETE FROM readings WHERE series = ? AND at < ?", id, before)
	done.Readings += int(n)
	return false, err
}

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
		all, err = query(s, "SELECT DISTINCT host, component FROM risk_history WHERE at < ?", []any{max(c.raw, c.daily)},
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
