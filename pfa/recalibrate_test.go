package pfa

import (
	"math"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

func TestRecalibrated(t *testing.T) {
	public := defaultModel(t)
	own, err := public.Recalibrated(map[string]float64{"": 0.5, "ST4000DM000": -0.2}, "12 failures, 7 expected")
	if err != nil {
		t.Fatal(err)
	}
	if g := own.Header().Grade; public.Header().Grade == GradePublic && g != GradeRecalibrated {
		t.Errorf("grade %s", g)
	}
	zero := 0.0
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for model, want := range map[string]float64{"ST4000DM000-1F2168": 0.3, "WDC WD30EFRX-68EUZN0": 0.5} {
		s := NewState("disk:A")
		s.Observe(signal.Reading{Component: "disk:A", Signal: signal.DriveModel, Text: model, Status: signal.OK, ObservedAt: at})
		s.Observe(signal.Reading{Component: "disk:A", Signal: signal.SmartReallocatedSectors, Value: &zero, Status: signal.OK, ObservedAt: at})
		a, b := public.Score(s, at), own.Score(s, at)
		if d := b.Logit - a.Logit; math.Abs(d-want) > 1e-9 {
			t.Errorf("%s: shifted by %g, want %g", model, d, want)
		}
		sum := 0.0
		for _, r := range b.Reasons {
			sum += r.Contribution
		}
		if math.Abs(sum-b.Logit) > 1e-9 {
			t.Errorf("%s: the reasons sum to %g, the logit is %g", model, sum, b.Logit)
		}
	}
	if _, err := own.Recalibrated(map[string]float64{"": 5}, "absurd"); err == nil {
		t.Error("a shift of 5.5 logits was accepted")
	}
}
