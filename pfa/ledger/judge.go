package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Horizon is how far ahead a warning looks.
const Horizon = 30 * 24 * time.Hour

// Prediction is what a model said of a component at a time; it stands until the
// next one.
type Prediction struct {
	At      time.Time
	Percent float64 // within 30 days
	Model   string
	Reason  string // the strongest
}

// Component is what is known of one.
type Component struct {
	Host      string
	Component string
	Family    string
	Said      []Prediction // oldest first
	Seen      time.Time    // the last reading of it
}

// Verdict is what became of a warning, or of a failure without one. The values
// are shown and counted.
type Verdict string

// The verdicts.
const (
	Hit        Verdict = "hit"               // it warned, and the component failed within the horizon
	FalseAlarm Verdict = "false-alarm"       // it warned, and the component lived on
	Missed     Verdict = "missed"            // the component failed, and nothing had warned
	Mitigated  Verdict = "mitigated-unknown" // it warned, and the component was taken out in time: nobody knows
	Open       Verdict = "open"              // it warns; the horizon is not over
)

// Entry is one line of the ledger.
type Entry struct {
	Host      string        `json:"host"`
	Component string        `json:"component"`
	Verdict   Verdict       `json:"verdict"`
	Warned    time.Time     `json:"warned,omitzero"` // when the warning began
	Percent   float64       `json:"percent"`         // the highest 30-day risk of it; of a missed failure, the last one
	Reason    string        `json:"reason"`
	Ended     time.Time     `json:"ended,omitzero"` // when it failed, was taken out, or the horizon was over
	Lead      time.Duration `json:"lead,omitzero"`  // of a hit: from the warning to the failure
	Note      string        `json:"note,omitempty"` // the operator's
}

// Judge makes the ledger: what each warning (a 30-day risk of percent or more)
// came to, and each failure that none preceded, oldest first.
func Judge(all []Component, marks []Mark, percent float64, now time.Time) []Entry {
	byComponent := marksBy(marks)
	var out []Entry
	for i := range all {
		out = append(out, all[i].judge(byComponent[all[i].Component], percent, now)...)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(a.when().Compare(b.when()), cmp.Compare(a.Component, b.Component))
	})
	return out
}

func (e Entry) when() time.Time {
	if e.Warned.IsZero() {
		return e.Ended
	}
	return e.Warned
}

// marksBy sorts marks by component and time, the last word on each time only.
func marksBy(marks []Mark) map[string][]Mark {
	out := map[string][]Mark{}
	for _, m := range marks {
		list := out[m.Component]
		if i := slices.IndexFunc(list, func(x Mark) bool { return x.At.Equal(m.At) }); i >= 0 {
			list[i] = m
		} else {
			out[m.Component] = append(list, m)
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b Mark) int { return a.At.Compare(b.At) })
	}
	return out
}

func (c *Component) judge(marks []Mark, percent float64, now time.Time) []Entry {
	var out []Entry
	var warning *Entry
	end := func(verdict Verdict, at time.Time, note string) {
		warning.Verdict, warning.Ended, warning.Note = verdict, at, note
		if verdict == Hit {
			warning.Lead = at.Sub(warning.Warned)
		}
		out = append(out, *warning)
		warning = nil
	}
	lived := func(until time.Time) { // the warning's last horizon is over: it lived on
		if warning != nil && until.Sub(warning.Ended) > Horizon {
			end(FalseAlarm, warning.Ended.Add(Horizon), "")
		}
	}
	next := 0
	last := Prediction{}
	mark := func(m Mark) {
		lived(m.At)
		switch {
		case m.Outcome == Failed && warning != nil:
			end(Hit, m.At, m.Note)
		case m.Outcome == Failed:
			out = append(out, Entry{Host: c.Host, Component: c.Component, Verdict: Missed, Percent: last.Percent, Reason: last.Reason, Ended: m.At, Note: m.Note})
		case warning != nil && m.Outcome == Replaced:
			end(Mitigated, m.At, m.Note)
		case warning != nil && m.Outcome == Healthy:
			end(FalseAlarm, m.At, m.Note)
		}
	}
	for i, p := range c.Said {
		for next < len(marks) && marks[next].At.Before(p.At) {
			mark(marks[next])
			next++
		}
		lived(p.At)
		last = p
		if p.Percent < percent {
			continue
		}
		until := now // what was said stands until the next word
		if i+1 < len(c.Said) {
			until = c.Said[i+1].At
		}
		until = earlier(until, c.Seen)
		if warning == nil {
			warning = &Entry{Host: c.Host, Component: c.Component, Warned: p.At}
		}
		if p.Percent >= warning.Percent {
			warning.Percent, warning.Reason = p.Percent, p.Reason
		}
		warning.Ended = later(p.At, until) // for now: when it last warned
	}
	for ; next < len(marks); next++ {
		mark(marks[next])
	}
	if warning != nil {
		switch {
		case now.Sub(warning.Ended) <= Horizon:
			warning.Ended = time.Time{}
			warning.Verdict = Open
			out = append(out, *warning)
		case c.Seen.Sub(warning.Ended) > Horizon:
			lived(c.Seen)
		default: // it fell silent while it warned, and nobody said why
			end(Mitigated, c.Seen, "")
		}
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Sum counts a ledger.
type Sum struct {
	Count     map[Verdict]int `json:"count"`
	Precision float64         `json:"precision"` // hits of the warnings whose truth is known; NaN-free: 0 without any
	Recall    float64         `json:"recall"`    // hits of the failures
}

// SumOf counts entries.
func SumOf(entries []Entry) Sum {
	s := Sum{Count: map[Verdict]int{}}
	for _, e := range entries {
		s.Count[e.Verdict]++
	}
	hits := float64(s.Count[Hit])
	s.Precision = hits / math.Max(1, hits+float64(s.Count[FalseAlarm]))
	s.Recall = hits / math.Max(1, hits+float64(s.Count[Missed]))
	return s
}
