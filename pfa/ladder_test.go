package pfa

import (
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// TestFallBackLadder: what a drive does not report costs evidence, one rung at
// a time, and never a score.
func TestFallBackLadder(t *testing.T) {
	m := defaultModel(t)
	all := map[string]float64{signal.SmartPowerOnHours: 9000}
	for _, c := range ataCounters {
		all[tracked[c]] = 0
	}
	one := map[string]float64{signal.SmartPowerOnHours: 9000, signal.SmartPendingSectors: 0}
	tests := []struct {
		name   string
		values map[string]float64
		trees  bool
		grade  Grade
		model  string
	}{
		{"all counters: trees", all, true, m.header.Grade, m.header.Name},
		{"one counter: log-linear", one, false, m.header.Grade, m.header.Name},
		{"no counter: documented odds", map[string]float64{signal.SmartPowerOnHours: 9000, signal.SmartCRCErrors: 3}, false, GradePrior, "prior disk"},
		{"nothing: a base rate", nil, false, GradePrior, "prior disk"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := state("disk:X", test.values)
			if test.values != nil {
				s.protocol = "ATA"
			}
			v := m.Score(s, axisTime(s.latest))
			if v.Grade != test.grade || !strings.HasPrefix(v.Model, test.model) || !v.Modelled {
				t.Errorf("grade %s by %s, want %s by %s", v.Grade, v.Model, test.grade, test.model)
			}
			if v.Risk.Month.Percent <= 0 || v.Risk.Month.Percent > 1 {
				t.Errorf("%g %%, of a drive that shows nothing", v.Risk.Month.Percent)
			}
			in := newInputs()
			m.ata.extract(s, s.latest, in)
			if in.trees() != test.trees {
				t.Errorf("trees %v, want %v", in.trees(), test.trees)
			}
		})
	}
	// On every rung errors raise the risk.
	for _, values := range []map[string]float64{all, one, {signal.SmartPendingSectors: 0}} {
		s := state("disk:X", values)
		before := m.Score(s, axisTime(s.latest)).Risk.Month.Percent
		s.Observe(value("disk:X", signal.SmartPendingSectors, 24, 40))
		if after := m.Score(s, axisTime(s.latest)).Risk.Month.Percent; after < 3*before {
			t.Errorf("40 pending sectors beside %d other signals: from %g to %g %%", len(values)-1, before, after)
		}
	}
}
