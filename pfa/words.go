package pfa

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// baselineWords names the drive's family and age with its usual risk.
func baselineWords(s *State, percent float64) string {
	what := s.model
	if what == "" {
		what = "a drive of unknown model"
	}
	age := "of unknown age"
	if sr := s.find(hoursIndex); sr != nil {
		age = fmt.Sprintf("%.1f years old", sr.level/8766)
	}
	return fmt.Sprintf("%s, %s: %s within 30 days is usual for its vendor and age", what, age, Percent(percent))
}

// severalWords says what the counters mean together, and names the one among
// them that speaks loudest of those that are not as usual.
func severalWords(contribution float64, reasons []Reason) string {
	if contribution < 0 {
		return "its counters taken together (they partly tell the same)"
	}
	loudest := Reason{}
	for _, r := range reasons {
		if r.Part == PartSignal && r.Value != r.Usual && r.Contribution > loudest.Contribution {
			loudest = r
		}
	}
	if loudest.Text == "" {
		return "its counters taken together"
	}
	return "its counters taken together, above all " + loudest.Text
}

// counterWords says what a counter did: "reported uncorrectable errors (187)
// 1 → 24 in 3 days (usual 0)".
func counterWords(r Reason, sr *series, t Axis) string {
	name := counterName(r.Signal)
	usual := " (usual " + number(r.Usual) + ")"
	switch {
	case sr.risen && t-sr.rose < episodePause:
		from, to := number(r.From), number(r.Value)
		if r.Value <= r.From {
			return fmt.Sprintf("%s rose %s and is %s again%s", name, ago(t-sr.began), to, usual)
		}
		return fmt.Sprintf("%s %s → %s in %s%s", name, from, to, days(t-sr.began), usual)
	case sr.risen && t-sr.rose < 90*24 && r.Value > r.From:
		return fmt.Sprintf("%s %s → %s, last risen %s%s", name, number(r.From), number(r.Value), ago(t-sr.rose), usual)
	case r.Value == r.Usual:
		return fmt.Sprintf("%s %s, as usual", name, number(r.Value))
	default:
		return fmt.Sprintf("%s %s, unchanged for %s%s", name, number(r.Value), days(t-sr.since), usual)
	}
}

// counterName is a signal's meaning with its attribute number, if it has one.
func counterName(name string) string {
	line, ok := signal.Lookup(name)
	if !ok {
		return name
	}
	if n, ok := strings.CutPrefix(name, "smart_"); ok {
		if n, ok := strings.CutSuffix(n, "_raw"); ok {
			return line.Meaning + " (" + n + ")"
		}
	}
	return line.Meaning
}

// days is a length of time in days, counting the first as one.
func days(h Axis) string {
	n := max(h, 0)/24 + 1
	if n == 1 {
		return "1 day"
	}
	return strconv.FormatInt(n, 10) + " days"
}

func ago(h Axis) string { return days(h) + " ago" }

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// Percent shows a percentage, wherever people read one: "25 %", "2.9 %",
// "0.04 %". Below ten it keeps two digits, because healthy components differ in
// small ones.
func Percent(p float64) string {
	switch {
	case p > 0 && p < 0.001:
		return "<0.001 %"
	case p < 1:
		return strconv.FormatFloat(p, 'g', 2, 64) + " %"
	case p == math.Trunc(p):
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

// digits shows a quantity with two digits that mean something.
func digits(p float64) string {
	switch {
	case p >= 10:
		return strconv.FormatFloat(p, 'f', 0, 64)
	case p >= 1:
		return strconv.FormatFloat(p, 'f', 1, 64)
	default:
		return strconv.FormatFloat(p, 'g', 2, 64)
	}
}
