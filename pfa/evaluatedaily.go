package pfa

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"
)

// dailyFate is what a row of a labelled daily table says of its drive's future.
type dailyFate struct {
	lead   Axis // hours from the row to the drive's failure, or -1: no failure is known
	failed bool // the drive failed on this row's day
	told   bool // lead is what the table says; else it follows from the drive's other rows
}

// fates finds the columns that say what became of the drives, and returns what
// reads them from a row: days_to_failure, empty when the drive did not fail in
// the 30 days after, else failure, 1 on the last day of a drive that failed.
func (t *table) fates() (func(*table) (dailyFate, error), error) {
	if _, ok := t.col["days_to_failure"]; ok {
		return func(t *table) (dailyFate, error) {
			days, has, err := t.number("days_to_failure")
			switch {
			case err != nil:
				return dailyFate{}, err
			case !has:
				return dailyFate{lead: -1, told: true}, nil
			case days < 0 || days > maxHours/24:
				return dailyFate{}, t.wrong("days_to_failure", fmt.Sprintf("days from 0 to %d, or nothing", maxHours/24))
			}
			return dailyFate{lead: Axis(math.Round(24 * days)), told: true}, nil
		}, nil
	}
	if _, ok := t.col["failure"]; ok {
		return func(t *table) (dailyFate, error) {
			switch t.text("failure") {
			case "0":
				return dailyFate{lead: -1}, nil
			case "1":
				return dailyFate{lead: 0, failed: true}, nil
			}
			return dailyFate{}, t.wrong("failure", "0 or 1")
		}, nil
	}
	return nil, fmt.Errorf("%s: neither column \"days_to_failure\" nor \"failure\" says what became of the drives", t.name)
}

// dailyMark is a row of which is known what became of its drive.
type dailyMark struct {
	landmark
	row   int
	extra bool // too late to be judged, but its drive's failure is known: what was known ahead of it?
}

// marks lists the rows that can be judged.
func (t *dailyTable) marks(name string) ([]dailyMark, error) {
	var end Axis                        // of the table
	seen := make([]Axis, len(t.drives)) // the drive's newest row
	died := make(map[int32]Axis)        // when
	for i, row := range t.rows {
		end, seen[row.drive] = max(end, row.noon()), max(seen[row.drive], row.noon())
		if t.fates[i].failed {
			died[row.drive] = row.noon()
		}
	}
	var out []dailyMark
	for i, row := range t.rows {
		k := dailyMark{landmark: landmark{drive: int(row.drive), hour: row.noon(), lead: t.fates[i].lead, weight: 1}, row: i}
		at, failed := died[row.drive]
		switch {
		case t.fates[i].told:
		case failed && at < k.hour:
			return nil, fmt.Errorf("%s: drive %s has a row of %s, after the day on which it failed", name, t.drives[row.drive].serial, row.date().Format(time.DateOnly))
		case failed:
			k.lead, k.extra = at-k.hour, end-k.hour < hours30d
		case seen[row.drive]-k.hour < hours30d:
			continue
		}
		out = append(out, k)
	}
	return out, nil
}

// EvaluateDaily judges the model itself on a labelled table in Backblaze's columns:
// each row's score, made of the drive's rows up to its date, beside what became of
// the drive within 30 days. With the column failure those rows count whose 30 days
// are in the table, and of them those of drives that failed or were still seen: a
// drive that is gone may have failed elsewhere. It says nothing of a model that was
// trained on these drives. It looks at ctx and calls progress, unless that is nil,
// now and then.
func (m *Model) EvaluateDaily(ctx context.Context, name string, r io.Reader, progress func(done, of int)) (Metrics, error) {
	t, err := readDailyTable(ctx, name, r, true)
	if err != nil {
		return Metrics{}, err
	}
	scores, err := m.scoreDays(ctx, t, progress)
	if err != nil {
		return Metrics{}, err
	}
	marks, err := t.marks(name)
	if err != nil {
		return Metrics{}, err
	}
	drives := make([]Drive, len(t.drives))
	for i, d := range t.drives {
		drives[i] = Drive{Serial: d.serial, Model: d.model, First: time.Unix(0, 0).UTC()}
	}
	first, last, rows, positives := Axis(math.MaxInt64), Axis(math.MinInt64), 0, 0
	predictions := make([]prediction, 0, len(marks))
	for _, k := range marks {
		s := &scores[k.row]
		p := prediction{landmark: k.landmark, rules: s.rules, extra: k.extra}
		p.score.month, p.score.lo, p.score.hi = s.p[2]/100, s.p[3]/100, s.p[4]/100
		predictions = append(predictions, p)
		drives[p.drive].Failed = drives[p.drive].Failed || p.lead >= 0
		if !p.extra {
			first, last = min(first, p.hour), max(last, p.hour)
			rows++
			positives += int(indicator(p.within(hours30d)))
		}
	}
	if positives == 0 || positives == rows {
		return Metrics{}, fmt.Errorf("%s: of %d rows whose next 30 days are known %d lie within 30 days of a failure: expected some, and some that do not",
			name, rows, positives)
	}
	out := measure(predictions, drives, axisTime(first), axisTime(last+24), 1)
	out.Model = m.Name()
	return out, nil
}
