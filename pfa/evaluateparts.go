package pfa

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Slice is what an evaluation found of one vendor's or one family's drives.
type Slice struct {
	Of        string  `json:"of"` // "vendor ST", "family ST4000DM000"
	Drives    int     `json:"drives"`
	Failures  int     `json:"failures"` // drives with a landmark within 30 days of their failure
	Landmarks int     `json:"landmarks"`
	Positives int     `json:"positives"`
	Base      float64 `json:"base_rate"` // of landmarks: the average precision of a ranking that knows nothing
	AUC       float64 `json:"auc"`
	AP        float64 `json:"ap"`
	Expected  float64 `json:"expected"` // positives
	Rule      Rule    `json:"smartd_rule"`
}

// sliceFailures is how many failing drives a family needs to be told apart in a
// history of many; the rest is "other families".
const sliceFailures = 10

// slices tells vendors and families apart, these from least failing drives on.
func (m *Metrics) slices(grid []prediction, drives []Drive, least int) {
	by := map[string][]prediction{}
	failed := map[string]map[int]bool{}
	add := func(of string, p prediction) {
		by[of] = append(by[of], p)
		if failed[of] == nil {
			failed[of] = map[int]bool{}
		}
		if p.within(hours30d) {
			failed[of][p.drive] = true
		}
	}
	for _, p := range grid {
		family := Family(drives[p.drive].Model)
		add("vendor "+vendorOf(family), p)
		add("family "+family, p)
	}
	for of, list := range by {
		if strings.HasPrefix(of, "family ") && len(failed[of]) < least {
			for _, p := range list {
				add("other families", p)
			}
		}
	}
	for of, list := range by {
		if strings.HasPrefix(of, "family ") && len(failed[of]) < least {
			continue
		}
		m.Slices = append(m.Slices, sliceOf(of, list, len(failed[of])))
	}
	slices.SortFunc(m.Slices, func(a, b Slice) int {
		return cmp.Or(-cmp.Compare(indicator(strings.HasPrefix(a.Of, "vendor")), indicator(strings.HasPrefix(b.Of, "vendor"))),
			cmp.Compare(b.Failures, a.Failures), cmp.Compare(a.Of, b.Of))
	})
}

func sliceOf(of string, list []prediction, failures int) Slice {
	out := Slice{Of: of, Failures: failures, Landmarks: len(list)}
	seen := map[int]bool{}
	s := make([]scored, len(list))
	var flagged float64
	slices.SortStableFunc(list, func(a, b prediction) int {
		return cmp.Or(cmp.Compare(a.drive, b.drive), cmp.Compare(a.hour, b.hour))
	})
	for i, p := range list {
		seen[p.drive] = true
		s[i] = scored{p.score.month, 1, p.within(hours30d)}
		out.Positives += int(indicator(s[i].label))
		out.Expected += p.score.month
		flagged += indicator(p.rules[ruleSmartd])
		out.Rule.Recall += indicator(p.rules[ruleSmartd] && s[i].label)
	}
	out.Drives = len(seen)
	out.AUC, out.AP = rankMetrics(s)
	out.Base = float64(out.Positives) / float64(len(list))
	hits := out.Rule.Recall
	if flagged > 0 {
		out.Rule.Precision = hits / flagged
	}
	if out.Positives > 0 {
		out.Rule.Recall = hits / float64(out.Positives)
	}
	if rest := float64(len(list) - out.Positives); rest > 0 {
		out.Rule.FalseAlarms = (flagged - hits) / rest
	}
	return out
}

// Details shows vendors and families, in Markdown.
func (m Metrics) Details() string {
	var b strings.Builder
	b.WriteString("\nBy vendor and family (base rate: the average precision of knowing nothing):\n\n")
	b.WriteString("| drives of | drives | failing | landmarks | positives | expected | AUC | average precision | base rate | smartd's rule: precision, recall |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, s := range m.Slices {
		auc, ap := "-", "-"
		if s.Positives > 0 {
			auc, ap = fmt.Sprintf("%.3f", s.AUC), fmt.Sprintf("%.3f", s.AP)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %.1f | %s | %s | %.4f | %.1f %%, %.1f %% |\n", s.Of, s.Drives, s.Failures, s.Landmarks, s.Positives,
			s.Expected, auc, ap, s.Base, 100*s.Rule.Precision, 100*s.Rule.Recall)
	}
	return b.String()
}
