package demo

import (
	"bytes"
	"testing"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

func TestColumnsStandBesideEachOther(t *testing.T) {
	var out bytes.Buffer
	newText(&out, false).columns([]string{"one\ntwo\n\n", "uno"})
	if got, want := out.String(), "  one                               uno\n  two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEachThingIsToldOnce: a state repeats nothing of the decision behind it, a
// decision that went on says only how, and a risk that barely moved is no news.
func TestEachThingIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	s := &story{text: newText(&out, false), seen: seen{risk: map[string]float64{}, state: map[string]string{"h1": "healthy"},
		decision: map[string]string{}, summary: map[string]bool{}}}
	for _, p := range []float64{3.4, 3.5, 63.2} {
		s.tellRisk(&managerv1.ComponentRisk{Host: "h1", Component: "disk:" + FailingDrive, Score: &managerv1.Score{P30D: p, Low30D: p / 2, High30D: p + 5}})
	}
	d := &managerv1.Decision{Id: "d1", Host: "h1", Kind: "evacuate", Status: "acting", Summary: "risk 63.2 %"}
	s.tellDecision(d)
	s.tellState(&managerv1.Host{Name: "h1", State: "evacuating", StateReason: "risk 63.2 %"})
	d.Status, d.Resolution = "done", "all guests have left"
	s.tellDecision(d)
	s.tellState(&managerv1.Host{Name: "h1", State: "drained", StateReason: "nothing runs there"})
	want := indent + "h1 disk:Z300V1RR: risk 3.4 % within 30 days (1.7–8.4 %)\n" +
		indent + "h1 disk:Z300V1RR: risk 63.2 % within 30 days (31.6–68.2 %)\n" +
		indent + "h1: evacuate (acting) risk 63.2 %\n" +
		indent + "h1 is evacuating\n" +
		indent + "h1: evacuate (done) all guests have left\n" +
		indent + "h1 is drained: nothing runs there\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if !s.seen.empty {
		t.Error("a drained host is empty")
	}
}

func TestTheLastDecisionEndsTheStory(t *testing.T) {
	story := "h1: drained\n\nEvidence now\n  disk\n\nDecisions\n  12:00 evacuate\n    because\n      not h2\n  11:00 watch\n    because\n\nMoves\n  g1\n"
	if got, want := lastDecision(story), "h1: drained\n\nEvidence now\n  disk\n\nDecisions\n  12:00 evacuate\n    because\n      not h2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastDecision("h1: healthy\n"); got != "h1: healthy" {
		t.Errorf("got %q", got)
	}
}
