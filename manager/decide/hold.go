package decide

import "time"

// Level is how bad a score is.
type Level int

// The levels, each with its threshold.
const (
	Fine Level = iota
	LevelWatch
	LevelQuarantine
	LevelEvacuate
)

// String names the level as operators know it.
func (l Level) String() string {
	return [...]string{"healthy", "watch", "quarantine", "evacuate"}[l]
}

// Hold remembers at which level a score stands and whether it has stood beyond
// another one long enough to change it. The zero value is a score never seen.
type Hold struct {
	Level Level `json:"level"`
	// Toward is the level that the score now asks for, Since when, for so many scores.
	Toward   Level     `json:"toward"`
	Since    time.Time `json:"since,omitzero"`
	Readings int       `json:"readings,omitempty"`
}

// thresholds of each level; Fine has none.
func (p Policy) threshold(l Level) Threshold {
	switch l {
	case LevelWatch:
		return p.Watch
	case LevelQuarantine:
		return p.Quarantine
	case LevelEvacuate:
		return p.Evacuate
	}
	return Threshold{}
}

// asks is the level a score asks for when it stands at the given one: the
// highest that it enters, or the highest standing one that it does not leave.
func (p Policy) asks(score float64, at Level) Level {
	for l := LevelEvacuate; l > Fine; l-- {
		t := p.threshold(l)
		if score >= t.Enter || (l <= at && score >= t.Leave) {
			return l
		}
	}
	return Fine
}

// Observe takes a new score (fresh: made from a reading that was not known
// before) or the passing of time (not fresh), and says where the score stands
// after it.
func (h Hold) Observe(r Risk, fresh bool, p Policy, now time.Time) Hold {
	if r.Hard {
		return Hold{Level: LevelEvacuate, Toward: LevelEvacuate, Since: now}
	}
	want := p.asks(r.P30d, h.Level)
	switch {
	case want == h.Level:
		return Hold{Level: h.Level, Toward: h.Level, Since: h.Since}
	case h.Toward == h.Level || (want > h.Level) != (h.Toward > h.Level):
		// A new direction: the hold begins with this score.
		h.Toward, h.Since, h.Readings = want, now, 0
	case want > h.Level && want < h.Toward, want < h.Level && want > h.Toward:
		// Less far than before: what has stood so long stands, for the nearer level.
		h.Toward = want
	case want != h.Toward:
		// Farther than before. This score speaks for the nearer level too, which
		// may have stood long enough with it; the farther one begins again.
		if fresh {
			h.Readings++
		}
		if h.stood(p, now) {
			h.Level = h.Toward
		}
		h.Toward, h.Since, h.Readings = want, now, 0
	}
	if fresh {
		h.Readings++
	}
	if h.stood(p, now) {
		h.Level = h.Toward
		h.Readings = 0
		h.Since = now
	}
	return h
}

func (h Hold) stood(p Policy, now time.Time) bool {
	return h.Readings >= max(1, p.HoldReadings) && now.Sub(h.Since) >= p.Hold
}
