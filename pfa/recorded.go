package pfa

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Recorded is one drive's recorded life, a row per day, as in Backblaze's daily
// files.
type Recorded struct {
	Serial string
	Model  string
	Days   []RecordedDay // in order of time
}

// RecordedDay is what one drive reported on one day.
type RecordedDay struct {
	Date   time.Time       // midnight UTC
	Failed bool            // the day it was last seen working
	Values map[int]float64 // raw value by ATA attribute
}

// ReadRecorded reads a table in Backblaze's columns (date, serial_number,
// model, failure, smart_N_raw, …) that holds one drive.
func ReadRecorded(name string, r io.Reader) (Recorded, error) {
	var out Recorded
	err := readDaily(name, r, func(serial, model string, day RecordedDay) error {
		if len(out.Days) == 0 {
			out.Serial, out.Model = serial, model
		}
		if serial != out.Serial {
			return fmt.Errorf("drives %s and %s, expected one drive", out.Serial, serial)
		}
		out.Days = append(out.Days, day)
		return nil
	})
	if err != nil {
		return Recorded{}, err
	}
	if len(out.Days) == 0 {
		return Recorded{}, fmt.Errorf("%s: no rows", name)
	}
	slices.SortStableFunc(out.Days, func(a, b RecordedDay) int { return a.Date.Compare(b.Date) })
	return out, nil
}

// attribute is a column of a daily table that holds an ATA attribute's raw value.
type attribute struct {
	id  int
	col string
}

// attributes lists the columns smart_N_raw by N, 0 to 255.
func (t *table) attributes() ([]attribute, error) {
	var out []attribute
	for col := range t.col {
		n, isSmart := strings.CutPrefix(col, "smart_")
		n, isRaw := strings.CutSuffix(n, "_raw")
		if id, err := strconv.ParseUint(n, 10, 8); isSmart && isRaw && err == nil {
			out = append(out, attribute{int(id), col})
		}
	}
	slices.SortFunc(out, func(a, b attribute) int { return a.id - b.id })
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no column smart_N_raw", t.name)
	}
	return out, nil
}

// readDaily calls f with each row of a table in Backblaze's columns.
func readDaily(name string, r io.Reader, f func(serial, model string, day RecordedDay) error) error {
	t, err := newTable(name, r, "date", "serial_number", "model")
	if err != nil {
		return err
	}
	attributes, err := t.attributes()
	if err != nil {
		return err
	}
	for {
		more, err := t.next()
		if err != nil || !more {
			return err
		}
		day := RecordedDay{Failed: t.text("failure") == "1", Values: make(map[int]float64, len(attributes))}
		if day.Date, err = t.day("date"); err != nil {
			return err
		}
		for _, a := range attributes {
			v, has, err := t.number(a.col)
			if err != nil {
				return err
			}
			if has {
				day.Values[a.id] = v
			}
		}
		serial := strings.Clone(t.text("serial_number"))
		if serial == "" {
			return t.wrong("serial_number", "a serial number")
		}
		if err := f(serial, strings.Clone(t.text("model")), day); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, t.line, err)
		}
	}
}

// Until returns the record up to so many days relative to its last one: Until(0)
// is all of it, Until(-26) ends 26 days before the last day.
func (r Recorded) Until(offset int) Recorded {
	if len(r.Days) == 0 {
		return r
	}
	end := r.Days[len(r.Days)-1].Date.AddDate(0, 0, offset)
	n := len(r.Days)
	for n > 0 && r.Days[n-1].Date.After(end) {
		n--
	}
	r.Days = r.Days[:n:n]
	return r
}

// Readings turns a record into the readings an agent would have made, once a
// day at noon, shifted so that its last day becomes lastDay. Attributes that
// the catalogue does not know are left out, so are empty fields.
func (r Recorded) Readings(host string, lastDay time.Time) []signal.Reading {
	if len(r.Days) == 0 {
		return nil
	}
	lastDay = time.Date(lastDay.Year(), lastDay.Month(), lastDay.Day(), 0, 0, 0, 0, time.UTC)
	shift := lastDay.Sub(r.Days[len(r.Days)-1].Date)
	base := signal.Reading{Host: host, Component: signal.DiskComponent(r.Serial), BootID: "recorded", Status: signal.OK}
	var out []signal.Reading
	for _, day := range r.Days {
		base.ObservedAt = day.Date.Add(shift + 12*time.Hour)
		words := func(name, text string) {
			x := base
			x.Seq, x.Signal, x.Text = uint64(len(out)+1), name, text
			out = append(out, x)
		}
		words(signal.DriveModel, r.Model)
		words(signal.DriveProtocol, "ATA")
		for id := range 256 {
			v, has := day.Values[id]
			name, known := signal.ATAAttribute(id)
			if !has || !known {
				continue
			}
			x := base
			x.Seq, x.Signal, x.Value = uint64(len(out)+1), name, &v
			line, _ := signal.Lookup(name)
			x.Unit = line.Unit
			out = append(out, x)
		}
	}
	return out
}

// Daily expands a drive's history to one row a day, as recorded at the end of
// each day: the first row on the first day seen, the last on the last.
func (d *Drive) Daily() Recorded {
	out := Recorded{Serial: d.Serial, Model: d.Model}
	total := int(math.Round(d.Last.Sub(d.First).Hours() / 24))
	next := 0
	for i := 0; i <= total; i++ {
		hour := d.HoursFirst
		if total > 0 {
			hour += Axis(math.Round(float64(d.HoursLast-d.HoursFirst) * float64(i) / float64(total)))
		}
		for next < len(d.Segments) && d.Segments[next].Start <= hour {
			next++
		}
		if next == 0 {
			continue
		}
		seg := &d.Segments[next-1]
		day := RecordedDay{Date: d.First.AddDate(0, 0, i), Failed: d.Failed && i == total, Values: map[int]float64{9: float64(hour)}}
		for c, col := range historyCols {
			if seg.Has&(1<<c) != 0 {
				id, err := strconv.Atoi(col.column[1:])
				if err != nil {
					panic("history column " + col.column + " is not named after an attribute")
				}
				day.Values[id] = float64(seg.Values[c])
			}
		}
		out.Days = append(out.Days, day)
	}
	return out
}

// recordedColumns are the attributes that CSV writes.
var recordedColumns = []int{5, 9, 10, 12, 187, 188, 189, 196, 197, 198}

// CSV writes the record in Backblaze's columns.
func (r Recorded) CSV() []byte {
	out := []byte("date,serial_number,model,failure")
	for _, id := range recordedColumns {
		out = fmt.Appendf(out, ",smart_%d_raw", id)
	}
	out = append(out, '\n')
	for _, day := range r.Days {
		out = fmt.Appendf(out, "%s,%s,%s,%d", day.Date.Format(time.DateOnly), r.Serial, r.Model, int(indicator(day.Failed)))
		for _, id := range recordedColumns {
			out = append(out, ',')
			if v, has := day.Values[id]; has {
				out = strconv.AppendFloat(out, v, 'f', -1, 64)
			}
		}
		out = append(out, '\n')
	}
	return out
}
