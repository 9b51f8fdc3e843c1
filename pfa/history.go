package pfa

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Drive is one drive of a labelled history: what it was, when it was seen, and
// every change of its counters.
type Drive struct {
	Serial     string
	Model      string
	First      time.Time // the day it was first seen
	Last       time.Time // the day it was last seen; zero when the file does not say
	HoursFirst Axis      // power-on hours at First
	HoursLast  Axis      // power-on hours when last seen (its death, if Failed); 0 when unknown
	Failed     bool
	DateError  float64 // power-on time minus calendar time while seen, in days
	Segments   []Segment
}

// Segment is a run of hours in which no counter changed.
type Segment struct {
	Start  Axis                     // power-on hours
	Values [len(historyCols)]uint32 // in the order of historyCols
	Has    uint16                   // bit i: Values[i] was reported
}

// historyCols are the counters of a history's segments, with the columns that
// hold them.
var historyCols = [...]struct {
	column string
	index  int
}{
	{"s5", trackedIndex[signal.SmartReallocatedSectors]},
	{"s10", trackedIndex[signal.SmartSpinRetries]},
	{"s12", trackedIndex[signal.SmartPowerCycles]},
	{"s187", trackedIndex[signal.SmartReportedUncorrectable]},
	{"s188", trackedIndex[signal.SmartCommandTimeouts]},
	{"s189", trackedIndex[signal.SmartHighFlyWrites]},
	{"s196", trackedIndex[signal.SmartReallocationEvents]},
	{"s197", trackedIndex[signal.SmartPendingSectors]},
	{"s198", trackedIndex[signal.SmartOfflineUncorrectable]},
}

// table reads a CSV whose first line names the columns.
type table struct {
	name string
	r    *csv.Reader
	col  map[string]int
	row  []string
	line int
}

func newTable(name string, r io.Reader, need ...string) (*table, error) {
	t := &table{name: name, r: csv.NewReader(bufio.NewReaderSize(r, 1<<16)), col: map[string]int{}, line: 1}
	t.r.ReuseRecord = true
	head, err := t.r.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: first line: expected the names of columns: %w", name, err)
	}
	for i, h := range head {
		t.col[strings.TrimSpace(h)] = i
	}
	for _, n := range need {
		if _, ok := t.col[n]; !ok {
			return nil, fmt.Errorf("%s: column %q is missing", name, n)
		}
	}
	return t, nil
}

// next reads the next row; false at the end.
func (t *table) next() (bool, error) {
	row, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.name, err)
	}
	t.row = row
	t.line, _ = t.r.FieldPos(0)
	return true, nil
}

func (t *table) text(col string) string {
	if i, ok := t.col[col]; ok {
		return t.row[i]
	}
	return ""
}

func (t *table) wrong(col, want string) error {
	return fmt.Errorf("%s: line %d: %s is %q, expected %s", t.name, t.line, col, t.text(col), want)
}

// hours reads a required whole number of hours.
func (t *table) hours(col string) (Axis, error) {
	v, err := strconv.ParseInt(t.text(col), 10, 64)
	if err != nil || v < 0 || v >= maxHours {
		return 0, t.wrong(col, "hours from 0 to "+strconv.Itoa(maxHours))
	}
	return v, nil
}

// number reads an optional number; false when the field is empty.
func (t *table) number(col string) (float64, bool, error) {
	s := t.text(col)
	if s == "" {
		return 0, false, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, false, t.wrong(col, "a number")
	}
	return v, true, nil
}

func (t *table) day(col string) (time.Time, error) {
	d, err := time.Parse(time.DateOnly, t.text(col))
	if err != nil {
		return time.Time{}, t.wrong(col, "a date as 2014-09-29")
	}
	return d, nil
}

// ReadDrives reads a table of drives in the columns of hdd_history_drives. The
// columns that tell a drive's fate (last_date, poh_last, failed,
// date_err_days) are read only when labelled is true.
func ReadDrives(name string, r io.Reader, labelled bool) ([]Drive, error) {
	need := []string{"serial_number", "model", "first_date", "poh_first"}
	if labelled {
		need = append(need, "last_date", "poh_last", "failed", "date_err_days")
	}
	t, err := newTable(name, r, need...)
	if err != nil {
		return nil, err
	}
	var drives []Drive
	for {
		more, err := t.next()
		if err != nil {
			return nil, err
		}
		if !more {
			return drives, nil
		}
		d := Drive{Serial: strings.Clone(t.text("serial_number")), Model: strings.Clone(t.text("model"))}
		if d.Serial == "" {
			return nil, t.wrong("serial_number", "a serial number")
		}
		if d.First, err = t.day("first_date"); err != nil {
			return nil, err
		}
		if d.HoursFirst, err = t.hours("poh_first"); err != nil {
			return nil, err
		}
		if labelled {
			if err := t.fate(&d); err != nil {
				return nil, err
			}
		}
		drives = append(drives, d)
	}
}

func (t *table) fate(d *Drive) (err error) {
	if d.Last, err = t.day("last_date"); err != nil {
		return err
	}
	if d.HoursLast, err = t.hours("poh_last"); err != nil {
		return err
	}
	switch t.text("failed") {
	case "0":
	case "1":
		d.Failed = true
	default:
		return t.wrong("failed", "0 or 1")
	}
	if d.DateError, _, err = t.number("date_err_days"); err != nil {
		return err
	}
	if d.HoursLast < d.HoursFirst || d.Last.Before(d.First) {
		return fmt.Errorf("%s: line %d: drive %s ends before it begins", t.name, t.line, d.Serial)
	}
	return nil
}

// ReadSegments adds the segments of a table in the columns of
// hdd_history_segments to the drives they belong to, in order of time. Of a
// segment only its start is read: its end lies in the future.
func ReadSegments(name string, r io.Reader, drives []Drive) error {
	_, err := readSegments(name, r, drives, false)
	return err
}

func readSegments(name string, r io.Reader, drives []Drive, others bool) (left int, err error) {
	t, err := newTable(name, r, "serial_number", "poh_start")
	if err != nil {
		return 0, err
	}
	at := make(map[string]int, len(drives))
	for i := range drives {
		if _, twice := at[drives[i].Serial]; twice {
			return 0, fmt.Errorf("%s: drive %s is listed twice", name, drives[i].Serial)
		}
		at[drives[i].Serial] = i
	}
	for {
		more, err := t.next()
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		i, ok := at[t.text("serial_number")]
		if !ok && others {
			left++
			continue
		}
		if !ok {
			return 0, t.wrong("serial_number", "a drive of the table of drives")
		}
		var seg Segment
		if seg.Start, err = t.hours("poh_start"); err != nil {
			return 0, err
		}
		for c, col := range historyCols {
			v, has, err := t.number(col.column)
			if err != nil {
				return 0, err
			}
			if has {
				seg.Values[c] = uint32(min(max(v, 0), math.MaxUint32))
				seg.Has |= 1 << c
			}
		}
		drives[i].Segments = append(drives[i].Segments, seg)
	}
	for i := range drives {
		slices.SortStableFunc(drives[i].Segments, func(a, b Segment) int { return int(a.Start - b.Start) })
	}
	return left, nil
}

// replay walks one drive's history forward through a State, on the axis of its
// power-on hours.
type replay struct {
	drive *Drive
	state *State
	next  int // the next segment to observe
}

func newReplay(d *Drive) *replay {
	s := NewState(signal.DiskComponent(d.Serial))
	s.setModel(d.Model)
	s.protocol = "ATA"
	return &replay{drive: d, state: s}
}

// to observes everything that was known at hour t, and the hour itself.
func (r *replay) to(t Axis) *State {
	for r.next < len(r.drive.Segments) && r.drive.Segments[r.next].Start <= t {
		seg := &r.drive.Segments[r.next]
		for c, col := range historyCols {
			if seg.Has&(1<<c) != 0 {
				r.state.observe(seg.Start, col.index, float64(seg.Values[c]), 0)
			}
		}
		r.next++
	}
	if r.next > 0 {
		r.state.observe(t, hoursIndex, float64(t), 0)
	}
	return r.state
}

// day is the calendar day of an hour of the drive's life, as exact as the
// history allows.
func (d *Drive) day(t Axis) time.Time {
	return d.First.Add(time.Duration(t-d.HoursFirst) * time.Hour)
}

// Until is the drive as it was known at the begin of a day: its later rows, and
// a failure on that day or later, have not happened yet. False if it was not
// seen before.
func (d Drive) Until(day time.Time) (Drive, bool) {
	if !d.First.Before(day) {
		return d, false
	}
	if d.Last.Before(day) {
		return d, true
	}
	d.Last, d.Failed = day.AddDate(0, 0, -1), false
	d.HoursLast = min(d.HoursLast, d.HoursFirst+Axis(d.Last.Sub(d.First)/time.Hour))
	n, _ := slices.BinarySearchFunc(d.Segments, d.HoursLast+1, func(s Segment, h Axis) int { return cmp.Compare(s.Start, h) })
	d.Segments = d.Segments[:n]
	return d, true
}

// State is what would be remembered of the drive at the end of its history, on
// the axis of its power-on hours.
func (d *Drive) State() *State { return newReplay(d).to(d.HoursLast) }
