package pfa

import (
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Estimate is a probability in percent, 0 to 100, with the ends of its 90 %
// interval.
type Estimate struct {
	Percent float64 `json:"percent"`
	Lo      float64 `json:"lo"`
	Hi      float64 `json:"hi"`
}

// Risk is how probable a failure is within a day, a week and thirty days. A
// longer horizon is never less probable than a shorter one.
type Risk struct {
	Day   Estimate `json:"24h"`
	Week  Estimate `json:"7d"`
	Month Estimate `json:"30d"`
}

// Grade says what a verdict rests on.
type Grade string

// The grades, best first.
const (
	GradeLocal        Grade = "A" // a model trained on the operator's own failures
	GradeRecalibrated Grade = "B" // a public model whose calibration was corrected by own failures
	GradePublic       Grade = "C" // a model trained on public failure histories
	GradePrior        Grade = "D" // documented priors only; nobody's failures were counted for this kind of component
)

// Words says in a few words what the grade means.
func (g Grade) Words() string {
	switch g {
	case GradeLocal:
		return "trained on this fleet's own failures"
	case GradeRecalibrated:
		return "public failure histories, calibrated on this fleet"
	case GradePublic:
		return "public failure histories"
	case GradePrior:
		return "documented priors, no failure history"
	}
	return "unknown"
}

// Part says which part of a score a reason explains.
type Part string

// The parts of a score. Their contributions sum to the verdict's logit.
const (
	PartBaseline    Part = "baseline"    // the drive's family and age, before any counter
	PartSignal      Part = "signal"      // one counter: its level and its rises
	PartCombination Part = "combination" // several counters together
	PartCalibration Part = "calibration" // the correction from score to honest probability
)

// Reason is one part of a score.
type Reason struct {
	Part         Part      `json:"part"`
	Signal       string    `json:"signal,omitempty"`
	From         float64   `json:"from"`           // the level before the latest run of rises
	Value        float64   `json:"value"`          // the level now
	Usual        float64   `json:"usual"`          // the median of healthy components of this vendor
	Since        time.Time `json:"since,omitzero"` // when the run of rises began; zero if nothing rose
	Contribution float64   `json:"contribution"`   // in logit units; positive raises the risk
	Text         string    `json:"text"`           // the same in plain words
}

// Evidence is hard: the component itself, or the kernel, says that it is
// failing. It needs no probability.
type Evidence struct {
	Signal   string    `json:"signal"`
	Severity Severity  `json:"severity"`
	Value    float64   `json:"value"`
	Since    time.Time `json:"since"`
	Text     string    `json:"text"`
}

// Severity ranks hard evidence.
type Severity string

const (
	// Failing: data or guests are in danger now.
	Failing Severity = "failing"
	// Degraded: something must be looked at, the component works.
	Degraded Severity = "degraded"
)

// Verdict is what a model says about one component at one time.
type Verdict struct {
	Component string     `json:"component"`
	Device    string     `json:"device,omitempty"` // the drive's family
	At        time.Time  `json:"at"`
	Observed  time.Time  `json:"observed,omitzero"` // the newest reading it rests on; zero: none yet
	Modelled  bool       `json:"modelled"`          // false: there is no model for this kind, Risk is empty
	Risk      Risk       `json:"risk"`
	Logit     float64    `json:"logit"` // of the 30-day probability
	Grade     Grade      `json:"grade"`
	Model     string     `json:"model"` // which model said it
	Reasons   []Reason   `json:"reasons"`
	Hard      []Evidence `json:"hard,omitempty"`
	Facts     []Fact     `json:"facts,omitempty"`
}

// IsFailing reports whether hard evidence says that the component is failing.
func (v Verdict) IsFailing() bool {
	for _, e := range v.Hard {
		if e.Severity == Failing {
			return true
		}
	}
	return false
}

// Top returns at most n reasons that raise the risk, the strongest first. The
// baseline is one of them only if no signal is, and what several signals make
// together only beside one.
func (v Verdict) Top(n int) []Reason {
	var out []Reason
	signals := false
	for _, r := range v.Reasons {
		if len(out) < n && r.Contribution > 0.05 && (r.Part == PartSignal || r.Part == PartCombination) {
			out = append(out, r)
			signals = signals || r.Part == PartSignal
		}
	}
	if !signals && n > 0 {
		for _, r := range v.Reasons {
			if r.Part == PartBaseline {
				return []Reason{r}
			}
		}
	}
	return out
}

// kind is the component's kind: disk, dimm, mc, nic, …
func (s *State) kind() string { return signal.ComponentKind(s.component) }
