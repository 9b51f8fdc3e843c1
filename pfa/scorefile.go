package pfa

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Landmark is a drive at a power-on hour, to be scored by what was known then.
type Landmark struct {
	Serial string
	Hour   Axis
}

// ReadLandmarks reads a table with the columns serial_number and poh.
func ReadLandmarks(name string, r io.Reader) ([]Landmark, error) {
	t, err := newTable(name, r, "serial_number", "poh")
	if err != nil {
		return nil, err
	}
	var out []Landmark
	for {
		more, err := t.next()
		if err != nil || !more {
			return out, err
		}
		l := Landmark{Serial: string([]byte(t.text("serial_number")))}
		if l.Hour, err = t.hours("poh"); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
}

// ScoreLandmarks scores every landmark by its drive's readings up to its hour,
// and by nothing later and no other drive's. A drive without a reading yet gets
// the baseline of its family, with grade D.
func (m *Model) ScoreLandmarks(drives []Drive, landmarks []Landmark) ([]Verdict, error) {
	bySerial := make(map[string]*Drive, len(drives))
	for i := range drives {
		bySerial[drives[i].Serial] = &drives[i]
	}
	order := make([]int, len(landmarks))
	for i, l := range landmarks {
		order[i] = i
		if bySerial[l.Serial] == nil {
			return nil, fmt.Errorf("landmark %d: drive %s is not in the table of drives", i+1, l.Serial)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(landmarks[a].Serial, landmarks[b].Serial), cmp.Compare(landmarks[a].Hour, landmarks[b].Hour))
	})
	out := make([]Verdict, len(landmarks))
	var re *replay
	for _, i := range order {
		l := landmarks[i]
		if re == nil || re.drive.Serial != l.Serial {
			re = newReplay(bySerial[l.Serial])
		}
		s := re.to(l.Hour)
		v := Verdict{Component: s.component, Device: s.model, At: re.drive.day(l.Hour)}
		if re.next > 0 {
			v.Observed = v.At
			m.scoreATA(&v, s, l.Hour)
		} else {
			// The hour is known from the landmark, nothing else is.
			fresh := newReplay(re.drive).state
			fresh.observe(l.Hour, hoursIndex, float64(l.Hour), 0)
			m.scoreATA(&v, fresh, l.Hour)
			v.Grade = GradePrior
		}
		out[i] = v
	}
	return out, nil
}

// DailyScore is the verdict on one row of a daily table.
type DailyScore struct {
	Date    time.Time
	Serial  string
	Verdict Verdict
}

// ScoreDaily scores every row of a table in Backblaze's columns by its drive's
// rows up to its date, in the order of the table.
func (m *Model) ScoreDaily(name string, r io.Reader) ([]DailyScore, error) {
	type row struct {
		serial, model string
		day           RecordedDay
	}
	var rows []row
	err := readDaily(name, r, func(serial, model string, day RecordedDay) error {
		rows = append(rows, row{serial, model, day})
		return nil
	})
	if err != nil {
		return nil, err
	}
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[a].serial, rows[b].serial), rows[a].day.Date.Compare(rows[b].day.Date))
	})
	out := make([]DailyScore, len(rows))
	var s *State
	for _, i := range order {
		x := rows[i]
		component := signal.DiskComponent(x.serial)
		if s == nil || s.component != component {
			s = NewState(component)
		}
		for _, reading := range (Recorded{Serial: x.serial, Model: x.model, Days: []RecordedDay{x.day}}).Readings("", x.day.Date) {
			s.Observe(reading)
		}
		out[i] = DailyScore{x.day.Date, x.serial, m.Score(s, x.day.Date.Add(12*time.Hour))}
	}
	return out, nil
}

// ScoreColumns are the columns that ScoreFields fills; p…, lo… and hi… are
// probabilities from 0 to 1.
var ScoreColumns = []string{"p24h", "p7d", "p30d", "lo30d", "hi30d", "grade", "reason1", "reason2", "reason3"}

// ScoreFields are the fields of a verdict in a table of scores.
func (v Verdict) ScoreFields() []string {
	p := func(percent float64) string { return strconv.FormatFloat(percent/100, 'g', 8, 64) }
	out := []string{p(v.Risk.Day.Percent), p(v.Risk.Week.Percent), p(v.Risk.Month.Percent), p(v.Risk.Month.Lo), p(v.Risk.Month.Hi),
		string(v.Grade), "", "", ""}
	for i, r := range v.Top(3) {
		out[6+i] = r.Text
	}
	return out
}
