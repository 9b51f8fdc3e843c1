package leak

import "fmt"

// Split checks how the rows are split: each thing on one side, validation later
// than training, with the horizon between them.
func Split(t *Table) []Finding {
	var out []Finding
	sides := map[string][3]int{} // by thing and part: the row's index + 1
	var last, first *Row         // the latest of training, the earliest of validation
	for i := range t.Rows {
		r := &t.Rows[i]
		s := sides[r.Thing]
		if s[r.Part] == 0 {
			s[r.Part] = i + 1
			sides[r.Thing] = s
		}
		switch {
		case r.Part == Training && (last == nil || r.At.After(last.At)):
			last = r
		case r.Part == Validation && (first == nil || r.At.Before(first.At)):
			first = r
		}
	}
	both, example := 0, ""
	for i := range t.Rows { // in the table's order, so that the same one is named
		if s := sides[t.Rows[i].Thing]; s[Training] > 0 && s[Validation] > 0 && (i+1 == s[Training]) {
			if both++; both == 1 {
				example = fmt.Sprintf("%s is learnt from and %s judged on", t.Rows[i].where(), t.Rows[s[Validation]-1].where())
			}
		}
	}
	if both > 0 {
		out = append(out, found(BothSides, "%d are on both sides of the split: %s", both, example))
	}
	if last == nil || first == nil {
		return out
	}
	switch gap := first.At.Sub(last.At); {
	case gap < 0:
		out = append(out, found(TimeOrder, "validation begins on %s, at %s, before training ends on %s, at %s",
			first.At.Format(day), first.where(), last.At.Format(day), last.where()))
	case gap < t.Horizon:
		out = append(out, found(Embargo, "training ends on %s, at %s, and validation begins on %s, at %s: %.1f days between them, expected %.0f",
			last.At.Format(day), last.where(), first.At.Format(day), first.where(), gap.Hours()/24, t.Horizon.Hours()/24))
	}
	return out
}
