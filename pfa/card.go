package pfa

import (
	"fmt"
	"strings"
)

// Card is the report of a model's training, in Markdown, made from the model
// file alone.
func (m *Model) Card() string {
	h, p, e := m.header, m.header.Provenance, m.header.Evaluation
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	b.WriteString(acceptedWords(p.Accepted))
	line("# Model card: %s", h.Name)
	line("")
	line("Written by `vireo pfa train` from the model file; do not edit. File checksum (sha256): `%s`.", h.Checksum)
	line("")
	line("Kind: %s, on a discrete time of three horizons (24 h, 7 d, 30 d), grade %s (%s).", h.Kind, h.Grade, h.Grade.Words())
	if p.Recalibrated != "" {
		line("Its baseline was brought to this fleet's own rate: %s.", p.Recalibrated)
	}
	line("It scores ATA hard drives. Flash, SCSI and memory get documented priors (grade D) that no data was fitted to.")
	line("")
	line("## Data")
	line("")
	line("| source | rows | sha256 |")
	line("| --- | --- | --- |")
	for _, s := range p.Sources {
		line("| %s | %d | `%s` |", s.Name, s.Rows, s.SHA256)
	}
	line("")
	line("%d drives, %d of them failing, %d landmarks, up to %s.", p.Drives, p.Failures, p.Landmarks, p.Until)
	if len(p.Excluded) > 0 {
		line("Never trained on: %s.", strings.Join(p.Excluded, ", "))
	}
	line("")
	if p.Licence != "" {
		line("%s", p.Licence)
		line("")
	}
	line("Split: %s.", p.Split)
	line("")
	line("## How well it does")
	line("")
	b.WriteString(e.Table())
	if len(e.Slices) > 0 {
		b.WriteString(e.Details())
	}
	line("")
	covered, counted := e.covered()
	line("%d of %d bins lie within these intervals, which allow for the drift between months that the judged models had seen in training.", covered, counted)
	line("In the months they were judged on it was %.2f logits; the intervals of this model allow for %.2f.", e.Drift, h.Drift)
	line("")
	line("## Limits")
	line("")
	line("* Failures are the operator's removals. Some drives are removed because of SMART values, which flatters every model that reads them.")
	line("* A large part of failing drives shows nothing in SMART before it dies; nothing here sees them coming.")
	line("* The histories end on %s. Rates of whole fleets drift (see observed / expected above); newer drives are scored by what", p.Until)
	line("  their counters have in common with old ones.")
	line("* Single drive families have no base rate of their own: how one fared in the past said little about its future.")
	return b.String()
}

// acceptedWords comes first in whatever shows a model: what its training broke
// and somebody accepted.
func acceptedWords(accepted []Accepted) string {
	var b strings.Builder
	for _, a := range accepted {
		fmt.Fprintf(&b, "> **Accepted in spite of rule %s:** %s.\n> Found: %s.\n\n", a.Rule, a.Reason, a.Found)
	}
	return b.String()
}

// Table shows the metrics for people, in Markdown.
func (e Metrics) Table() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if e.Model == "" {
		line("On drives the judged models had not seen, later in time (landmarks every 14 days from %s, before %s):", e.From, e.Until)
	} else {
		line("%s on every daily row from %s, before %s, whose next 30 days are known:", e.Model, e.From, e.Until)
	}
	line("%d drives, %d failing, %d landmarks, %d of them within 30 days of a failure. In brackets: 90 %% interval, bootstrap over drives.",
		e.Drives, e.Failures, e.Landmarks, e.Positives)
	line("")
	line("| measure | value |")
	line("| --- | --- |")
	measure := func(name string, x Measure) { line("| %s | %.3f (%.3f … %.3f) |", name, x.Value, x.Lo, x.Hi) }
	measure("area under the ROC curve", e.AUC)
	measure("average precision", e.AP)
	measure("observed / expected failures", e.ObsExp)
	line("| failing drives flagged ≥ 1 day ahead, with 1 %% of healthy drives ever flagged (at %.1f %%) | %.1f %% |", e.Threshold, 100*e.RecallDay)
	line("| … ≥ 7 days ahead | %.1f %% |", 100*e.RecallWeek)
	for _, r := range []struct {
		name string
		Rule
	}{{"smartd's rule (197 or 198 above 0)", e.Smartd}, {"scrutiny's thresholds", e.Scrutiny}} {
		line("| %s: precision, recall | %.1f %%, %.1f %% |", r.name, 100*r.Precision, 100*r.Recall)
		line("| … the model at as many false alarms: precision, recall | %.1f %%, %.1f %% |", 100*r.ModelPrecision, 100*r.ModelRecall)
	}
	line("")
	line("What fixed thresholds on the 30-day risk would have done:")
	line("")
	line("| threshold | failing, ≥ 1 day ahead | failing, ≥ 7 days ahead | healthy, ever |")
	line("| --- | --- | --- | --- |")
	for _, l := range e.Policy {
		line("| %.0f %% | %.1f %% | %.1f %% | %.2f %% |", l.Percent, 100*l.Day, 100*l.Week, 100*l.FalseAlarms)
	}
	line("")
	line("Calibration: landmarks by predicted 30-day risk, failures observed, and expected with the sums of the intervals' ends:")
	line("")
	line("| risk below | landmarks | observed | expected | interval |")
	line("| --- | --- | --- | --- | --- |")
	for _, x := range e.Bins {
		line("| %g %% | %d | %d | %.1f | %.1f … %.1f |", x.Below, x.Rows, x.Observed, x.Expected, x.Lo, x.Hi)
	}
	return b.String()
}

// covered counts the bins whose outcome lies within the expected interval, and
// those with any landmark.
func (e Metrics) covered() (within, of int) {
	for _, x := range e.Bins {
		if x.Rows > 0 {
			of++
			within += int(indicator(float64(x.Observed) >= x.Lo && float64(x.Observed) <= x.Hi))
		}
	}
	return within, of
}
