package pfa

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Horizons of a verdict, in hours of the component's axis.
const (
	hours24h Axis = 24
	hours7d  Axis = 7 * 24
	hours30d Axis = 30 * 24
)

// sampling says which landmarks (a drive at an hour) of a history are taken.
type sampling struct {
	from, until time.Time         // days of landmarks, until excluded; zero: no bound
	known       time.Time         // fates are known up to this day only; zero: to the history's end
	take        func(*Drive) bool // nil: all
	every       Axis              // hours between a drive's landmarks
	dense       bool              // failing drives' last 30 days daily, with less weight each
	thin        int               // keep one in so many landmarks of drives without any error, with more weight; 0 or 1: all
	hide        float64           // share of landmarks that lose attributes, each with probability hideEach
}

// landmark is one sampled row's origin and outcome.
type landmark struct {
	drive  int
	hour   Axis
	lead   Axis // hours to the failure, or -1: none within the known future
	weight float64
}

// within reports whether the drive failed within h hours.
func (l landmark) within(h Axis) bool { return l.lead >= 0 && l.lead <= h }

// landmarks lists a drive's landmarks in order of time. A landmark whose 30
// days are not fully known is left out unless the drive failed in them.
func (s *sampling) landmarks(id int, d *Drive) []landmark {
	if s.take != nil && !s.take(d) || d.HoursLast == 0 {
		return nil
	}
	end, failed := d.HoursLast, d.Failed
	if !s.known.IsZero() {
		if last := d.HoursFirst + Axis(s.known.Sub(d.First)/time.Hour); last < end {
			end, failed = last, false
		}
	}
	var out []landmark
	phase := Axis(spread(d.Serial, 0) % uint64(s.every/24))
	for h := d.HoursFirst; h < end; h += 24 {
		onGrid := (h-d.HoursFirst)/24%(s.every/24) == phase
		l := landmark{drive: id, hour: h, lead: -1, weight: 1}
		if failed {
			l.lead = end - h
		}
		if s.dense && l.within(hours30d) {
			l.weight = 24 / float64(s.every)
		} else if !onGrid || !failed && h+hours30d > end {
			continue
		}
		if day := d.day(h); !s.from.IsZero() && day.Before(s.from) || !s.until.IsZero() && !day.Before(s.until) {
			continue
		}
		out = append(out, l)
	}
	return out
}

// dataset is a sampled history: one row of features per landmark.
type dataset struct {
	rows   *rows       // labelled with failing within 30 days
	dense  [][]float32 // the trees' features, by column
	marks  []landmark
	hidden []bool // the row lost attributes
}

// sample replays every drive through a State, as scoring does, and keeps the
// features at its landmarks.
func (s *sampling) sample(drives []Drive, schema *ataSchema) *dataset {
	parts := make([]*dataset, chunks)
	inChunks(len(drives), func(c, from, to int) {
		part := &dataset{rows: newRows(len(schema.features)), dense: make([][]float32, len(treeColumns))}
		var v vector
		x := make([]float64, len(treeColumns))
		for id := from; id < to; id++ {
			d := &drives[id]
			marks := s.landmarks(id, d)
			if len(marks) == 0 {
				continue
			}
			re := newReplay(d)
			for _, l := range marks {
				st := re.to(l.hour)
				schema.extract(st, l.hour, &v)
				if s.thin > 1 && !l.within(hours30d) && schema.quiet(&v) {
					if spread(d.Serial, uint64(l.hour))%uint64(s.thin) != 0 {
						continue
					}
					l.weight *= float64(s.thin)
				}
				shown, hidden := st.place, s.hide > 0 && place(d.Serial, l.hour, hideSalt) < s.hide
				if hidden {
					for c, index := range ataCounters {
						if place(d.Serial, l.hour, hideSalt+1+uint64(c)) < hideEach {
							st.place[index] = 0
						}
					}
					schema.extract(st, l.hour, &v)
				}
				part.rows.add(&v, l.weight, l.within(hours30d), id)
				treeRow(st, l.hour, x)
				st.place = shown
				for j, value := range x {
					part.dense[j] = append(part.dense[j], float32(value))
				}
				part.marks, part.hidden = append(part.marks, l), append(part.hidden, hidden)
			}
		}
		parts[c] = part
	})
	all := &dataset{rows: newRows(len(schema.features)), dense: make([][]float32, len(treeColumns))}
	for _, p := range parts {
		for j := range p.dense {
			all.dense[j] = append(all.dense[j], p.dense[j]...)
		}
		all.rows.appendRows(p.rows)
		all.marks, all.hidden = append(all.marks, p.marks...), append(all.hidden, p.hidden...)
	}
	return all
}

func (r *rows) appendRows(o *rows) {
	base := int64(len(r.index))
	r.index = append(r.index, o.index...)
	r.value = append(r.value, o.value...)
	for _, s := range o.start[1:] {
		r.start = append(r.start, base+s)
	}
	r.weight = append(r.weight, o.weight...)
	r.label = append(r.label, o.label...)
	r.group = append(r.group, o.group...)
}

// quiet reports that none of the classic counters shows anything.
func (a *ataSchema) quiet(v *vector) bool {
	for _, i := range v.index {
		if int(i) < a.at.counters+classic*counterColumns {
			return false
		}
	}
	return true
}

// hideEach is how probable it is that a landmark that loses attributes loses a
// certain one; hideSalt draws it.
const (
	hideEach = 0.3
	hideSalt = 2 << 32
)

// place is a number from 0 to 1 for a drive at an hour.
func place(serial string, hour Axis, salt uint64) float64 {
	return float64(spread(serial, salt+uint64(hour)<<34)>>11) / (1 << 53)
}

// spread maps a serial number and a salt to a number that has nothing to do
// with either: it places landmarks and folds, it is never a feature.
func spread(serial string, salt uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	sum := sha256.Sum256(append(b[:], serial...))
	return binary.LittleEndian.Uint64(sum[:])
}
