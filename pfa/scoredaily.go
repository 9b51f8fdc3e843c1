package pfa

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// dailyRow is one row of a daily table, in few bytes: tables of a million rows
// are normal, and a drive's rows may lie anywhere in one.
type dailyRow struct {
	drive int32 // index into dailyTable.drives
	day   int32 // since 1970
	at    int32 // where its values begin in dailyTable.values
	n     uint8 // how many
}

type dailyTable struct {
	drives []struct{ serial, model string }
	rows   []dailyRow
	values []dailyValue
	fates  []dailyFate // of the rows, when the table was read with them
}

type dailyValue struct {
	value float64
	index uint8 // of the signal in tracked
}

const secondsPerDay = 24 * 3600

func (r dailyRow) date() time.Time { return time.Unix(int64(r.day)*secondsPerDay, 0).UTC() }

// noon is when a row's values are taken to have been read, on the axis.
func (r dailyRow) noon() Axis { return Axis(r.day)*24 + 12 }

// readDailyTable reads a table of daily rows; labelled, with the columns that say
// what became of the drives.
func readDailyTable(ctx context.Context, name string, r io.Reader, labelled bool) (*dailyTable, error) {
	t, err := newTable(name, r, "date", "serial_number", "model")
	if err != nil {
		return nil, err
	}
	var fate func(*table) (dailyFate, error)
	if labelled {
		if fate, err = t.fates(); err != nil {
			return nil, err
		}
	}
	columns, err := t.attributes()
	if err != nil {
		return nil, err
	}
	out := &dailyTable{}
	at := map[string]int32{}
	for {
		more, err := t.next()
		if err != nil {
			return nil, err
		}
		if !more {
			return out, nil
		}
		if len(out.rows)%(1<<16) == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		serial, model := t.text("serial_number"), t.text("model")
		if serial == "" {
			return nil, t.wrong("serial_number", "a serial number")
		}
		day, err := t.day("date")
		if err != nil {
			return nil, err
		}
		drive, known := at[serial]
		if !known {
			drive = int32(len(out.drives))
			serial = strings.Clone(serial)
			at[serial] = drive
			out.drives = append(out.drives, struct{ serial, model string }{serial, strings.Clone(model)})
		}
		row := dailyRow{drive: drive, day: int32(day.Unix() / secondsPerDay), at: int32(len(out.values))}
		for _, c := range columns {
			v, has, err := t.number(c.col)
			if err != nil {
				return nil, err
			}
			if index := dailyAttributes[c.id]; has && index >= 0 {
				out.values = append(out.values, dailyValue{v, uint8(index)})
				row.n++
			}
		}
		out.rows = append(out.rows, row)
		if labelled {
			f, err := fate(t)
			if err != nil {
				return nil, err
			}
			out.fates = append(out.fates, f)
		}
	}
}

// dailyScore is what is written of one row's verdict, and what it is judged by.
type dailyScore struct {
	p       [5]float64 // percent, in the order of ScoreColumns
	grade   Grade
	reasons [tableReasons]string
	rules   [rules]bool
}

// ScoreDaily reads a table in Backblaze's columns from r and writes a line with
// the date, the serial number and ScoreColumns for each of its rows to w, in
// the same order. A row is scored by its drive's rows up to its date. It looks
// at ctx and calls progress, unless that is nil, now and then.
func (m *Model) ScoreDaily(ctx context.Context, name string, r io.Reader, w io.Writer, progress func(done, of int)) error {
	t, err := readDailyTable(ctx, name, r, false)
	if err != nil {
		return err
	}
	scores, err := m.scoreDays(ctx, t, progress)
	if err != nil {
		return err
	}
	line := appendCSV(nil, append([]string{"date", "serial_number"}, ScoreColumns...)...)
	for i := range scores {
		if _, err := w.Write(line); err != nil {
			return err
		}
		s := &scores[i]
		fields := []string{t.rows[i].date().Format(time.DateOnly), t.drives[t.rows[i].drive].serial}
		for _, p := range s.p {
			fields = append(fields, probability(p))
		}
		line = appendCSV(line[:0], append(append(fields, string(s.grade)), s.reasons[:]...)...)
	}
	_, err = w.Write(line)
	return err
}

// scoreDays scores every row by its drive's rows up to its date.
func (m *Model) scoreDays(ctx context.Context, t *dailyTable, progress func(done, of int)) ([]dailyScore, error) {
	order := make([]int32, len(t.rows))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(t.rows[a].drive, t.rows[b].drive), cmp.Compare(t.rows[a].day, t.rows[b].day))
	})
	scores := make([]dailyScore, len(t.rows))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && (to < from+landmarksAtOnce || t.rows[order[to]].drive == t.rows[order[to-1]].drive) {
			to++
		}
		m.scoreRows(t, order[from:to], scores)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if from = to; progress != nil {
			progress(from, len(order))
		}
	}
	return scores, nil
}

// scoreRows scores rows that are sorted by drive and day, on all processors. A
// chunk that begins within a drive leaves the drive to the chunk before.
func (m *Model) scoreRows(t *dailyTable, order []int32, scores []dailyScore) {
	inChunks(len(order), func(_, from, to int) {
		drive := func(i int) int32 { return t.rows[order[i]].drive }
		for from > 0 && from < to && drive(from) == drive(from-1) {
			from++
		}
		if from == to {
			return
		}
		for to < len(order) && drive(to) == drive(to-1) {
			to++
		}
		var s *State
		for k := from; k < to; k++ {
			row := t.rows[order[k]]
			if k == from || drive(k) != drive(k-1) {
				d := t.drives[row.drive]
				s = NewState(signal.DiskComponent(d.serial))
				s.setModel(d.model)
				s.protocol = "ATA"
			}
			for _, v := range t.values[row.at : row.at+int32(row.n)] {
				s.observe(row.noon(), int(v.index), v.value, 0)
			}
			v := m.Score(s, axisTime(row.noon()))
			out := &scores[order[k]]
			out.p = [...]float64{v.Risk.Day.Percent, v.Risk.Week.Percent, v.Risk.Month.Percent, v.Risk.Month.Lo, v.Risk.Month.Hi}
			out.grade, out.rules = v.Grade, s.ruled()
			copy(out.reasons[:], reasonFields(v.Top(tableReasons)))
		}
	})
}
