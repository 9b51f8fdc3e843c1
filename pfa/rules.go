package pfa

import "math"

// Rules of thumb that people install today, as baselines of an evaluation.
const (
	ruleSmartd = iota
	ruleScrutiny
	rules
)

// ruled says which rules call the drive failing.
func (s *State) ruled() (out [rules]bool) {
	out[ruleSmartd], out[ruleScrutiny] = s.smartd(), s.scrutiny()
	return out
}

// smartd warns of pending and of offline uncorrectable sectors.
func (s *State) smartd() bool {
	for _, c := range [...]int{cPending, cOffline} {
		if sr := s.find(ataCounters[c]); sr != nil && sr.level > 0 {
			return true
		}
	}
	return false
}

// scrutiny calls a drive failed when a counter lies where drives were observed
// to fail at 10 % a year or more (20 % if the counter is not critical). These
// are those ranges of its table: above low, up to high.
func (s *State) scrutiny() bool {
	for _, r := range [...]struct {
		counter   int
		low, high float64
	}{
		{cReallocated, 16, 70000}, {cSpin, 0, 80}, {cUncorrectable, 0, 120}, {cTimeout, 100, math.MaxUint32}, {cHighFly, 30, 150},
		{cEvents, 11, 17}, {cEvents, 27, 45}, {cPending, 1, 1600}, {cOffline, 0, 16},
	} {
		if sr := s.find(ataCounters[r.counter]); sr != nil && sr.level > r.low && sr.level <= r.high {
			return true
		}
	}
	return false
}

// Rule compares a rule of thumb with the model at the rule's own false-alarm
// rate, by landmark.
type Rule struct {
	Recall         float64 `json:"recall"`
	Precision      float64 `json:"precision"`
	FalseAlarms    float64 `json:"false_alarm_rate"`
	ModelRecall    float64 `json:"model_recall"`
	ModelPrecision float64 `json:"model_precision"`
}

// ruleBeside compares a rule with the model, whose scores s come in falling
// order, at the rule's own number of false alarms.
func ruleBeside(rule int, grid []prediction, s []scored) Rule {
	var tp, fp, positives float64
	for i, p := range grid {
		positives += indicator(s[i].label)
		tp += indicator(p.rules[rule] && s[i].label)
		fp += indicator(p.rules[rule] && !s[i].label)
	}
	out := Rule{Recall: tp / positives, Precision: ratio(tp, tp+fp), FalseAlarms: fp / (float64(len(grid)) - positives)}
	var own, alarms float64
	for _, x := range s {
		if !x.label && alarms+1 > fp {
			break
		}
		own += indicator(x.label)
		alarms += indicator(!x.label)
	}
	out.ModelRecall, out.ModelPrecision = own/positives, ratio(own, own+alarms)
	return out
}

// ratio is part of all, 0 of nothing.
func ratio(part, all float64) float64 {
	if all == 0 {
		return 0
	}
	return part / all
}
