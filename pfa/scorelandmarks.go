package pfa

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Landmark is a drive at a power-on hour, to be scored by what was known then.
type Landmark struct {
	Serial string
	Hour   Axis
	text   string // the hour as the table has it
	drive  *Drive
}

// landmarkTable reads landmarks as they are asked for: tables of millions are
// normal.
type landmarkTable struct {
	*table
	drives map[string]*Drive
}

func (t *landmarkTable) next() (l Landmark, more bool, err error) {
	if more, err = t.table.next(); err != nil || !more {
		return l, false, err
	}
	serial := t.text("serial_number")
	if l.drive = t.drives[serial]; l.drive == nil {
		return l, false, t.wrong("serial_number", "a drive of the table of drives")
	}
	l.Serial, l.text = l.drive.Serial, strings.Clone(t.text("poh"))
	h, err := strconv.ParseFloat(l.text, 64)
	if err != nil || !(h >= 0 && h < maxHours) {
		return l, false, t.wrong("poh", fmt.Sprintf("hours from 0 to %d", maxHours))
	}
	l.Hour = Axis(math.Floor(h))
	return l, true, nil
}

// landmarksAtOnce bounds what is held in memory of a table of landmarks.
const landmarksAtOnce = 1 << 14

// ScoreLandmarks reads a table of landmarks with the columns serial_number and
// poh from r and writes a line with ScoreColumns for each to w, in the same
// order. A landmark is scored by its drive's readings up to its hour, and by
// nothing later and no other drive's; a drive without a reading yet gets the
// baseline of its kind and age, with grade D. It looks at ctx and calls
// progress, unless that is nil, now and then.
func (m *Model) ScoreLandmarks(ctx context.Context, drives []Drive, name string, r io.Reader, w io.Writer, progress func(done int)) error {
	return m.scoreTable(ctx, drives, name, r, w, progress, landmarksAtOnce)
}

func (m *Model) scoreTable(ctx context.Context, drives []Drive, name string, r io.Reader, w io.Writer, progress func(done int), atOnce int) error {
	t, err := newTable(name, r, "serial_number", "poh")
	if err != nil {
		return err
	}
	in := landmarkTable{table: t, drives: make(map[string]*Drive, len(drives))}
	for i := range drives {
		in.drives[drives[i].Serial] = &drives[i]
	}
	if _, err := w.Write(appendCSV(nil, append([]string{"serial_number", "poh"}, ScoreColumns...)...)); err != nil {
		return err
	}
	marks := make([]Landmark, 0, atOnce)
	for done, more := 0, true; more; {
		marks = marks[:0]
		for len(marks) < atOnce {
			var l Landmark
			if l, more, err = in.next(); err != nil {
				return err
			}
			if !more {
				break
			}
			marks = append(marks, l)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, line := range m.landmarkLines(marks) {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if done += len(marks); progress != nil {
			progress(done)
		}
	}
	return nil
}

// landmarkLines scores some landmarks, on all processors.
func (m *Model) landmarkLines(marks []Landmark) [][]byte {
	order := make([]int, len(marks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(marks[a].Serial, marks[b].Serial), cmp.Compare(marks[a].Hour, marks[b].Hour))
	})
	out := make([][]byte, len(marks))
	inChunks(len(order), func(_, from, to int) {
		var re *replay
		for _, i := range order[from:to] {
			l := &marks[i]
			if re == nil || re.drive != l.drive {
				re = newReplay(l.drive)
			}
			out[i] = appendCSV(nil, append([]string{l.Serial, l.text}, m.scoreLandmark(re, l.Hour).ScoreFields()...)...)
		}
	})
	return out
}

func (m *Model) scoreLandmark(re *replay, hour Axis) Verdict {
	s := re.to(hour)
	v := Verdict{Component: s.component, Device: s.model, At: re.drive.day(hour)}
	if re.next > 0 {
		v.Observed = v.At
		m.scoreATA(&v, s, hour)
		return v
	}
	// The hour is known from the landmark, nothing else is.
	fresh := newReplay(re.drive).state
	fresh.observe(hour, hoursIndex, float64(hour), 0)
	m.scoreATA(&v, fresh, hour)
	v.Grade = GradePrior
	return v
}

// ReadSegmentsOf is ReadSegments for a table that may hold other drives, too:
// their segments are left out and counted.
func ReadSegmentsOf(name string, r io.Reader, drives []Drive) (left int, err error) {
	return readSegments(name, r, drives, true)
}

// dailyAttributes are the tracked signals of a daily table's attributes.
var dailyAttributes = func() (index [256]int) {
	for id := range index {
		index[id] = -1
		if name, ok := signal.ATAAttribute(id); ok {
			index[id] = trackedIndex[name]
		}
	}
	return index
}()
