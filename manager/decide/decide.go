package decide

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

// Decide says what should happen now, for every host, in order of their names.
// A host for which everything stands as it should gives no decision: Decide may
// be asked again and again, and repeats nothing that is already on its way.
func Decide(s Snapshot, p Policy, now time.Time) []Decision {
	var out []Decision
	b := newBrakes(s, p, now)
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if !h.Alive || h.State == Maintenance {
			// Silence is not a reason to act, and not a reason to stop what a
			// person or an earlier decision began.
			continue
		}
		if d, ok := host(s, p, h, b, now); ok {
			out = append(out, d)
		}
		for _, t := range h.Threats {
			if d, ok := threat(s, p, h, t, b, now); ok {
				out = append(out, d)
			}
		}
	}
	return out
}

// host decides about the whole host.
func host(s Snapshot, p Policy, h *Host, b *brakes, now time.Time) (Decision, bool) {
	level := h.Hold.Level
	d := Decision{Host: h.Name, Risk: h.Risk, Cause: Cause(h.Risk, level)}
	if level == LevelEvacuate && h.State != Evacuating && h.State != Drained {
		return evacuate(s, p, h, d, b, now)
	}
	if h.State == Evacuating || h.State == Drained {
		return d, false // left by a person's return only
	}
	if h.Open != nil && h.Open.Kind == KindEvacuate && h.Open.Status != Acting && h.Open.Status != Approved {
		d.Supersedes = h.Open.ID // its cause is gone
	}
	want := map[Level]State{Fine: Healthy, LevelWatch: Watch, LevelQuarantine: Quarantined}[level]
	if want == h.State {
		if d.Supersedes != "" {
			d.Status = Superseded
			d.Summary = fmt.Sprintf("risk fell to %s: nothing to evacuate for", pfa.Percent(h.Risk.P30d))
			return d, true
		}
		return d, false
	}
	d.State, d.Status = want, DoneStatus
	switch level {
	case Fine:
		d.Kind, d.Threshold = KindHealthy, p.Watch.Leave
		d.Summary = fmt.Sprintf("risk %s is below %s", pfa.Percent(h.Risk.P30d), pfa.Percent(d.Threshold))
	case LevelWatch:
		d.Kind, d.Threshold = KindWatch, p.Watch.Enter
		d.Summary = over(h.Risk, d.Threshold)
	default:
		d.Kind, d.Threshold = KindQuarantine, p.Quarantine.Enter
		d.Summary = over(h.Risk, d.Threshold)
	}
	if level != Fine && rank(want) < rank(h.State) {
		d.Threshold = p.threshold(level + 1).Leave
		d.Summary = fmt.Sprintf("risk %s is below %s", pfa.Percent(h.Risk.P30d), pfa.Percent(d.Threshold))
	}
	return d, true
}

func rank(s State) int {
	return slices.Index([]State{Healthy, Watch, Quarantined, Evacuating, Drained}, s)
}

// evacuate decides what the wish to empty a host becomes under mode and brakes.
func evacuate(s Snapshot, p Policy, h *Host, d Decision, b *brakes, now time.Time) (Decision, bool) {
	d.Kind = KindEvacuate
	d.State = Quarantined // whatever becomes of it, the host takes nothing new
	if !h.Risk.Hard {
		d.Threshold = p.Evacuate.Enter
	}
	status, why := b.status(h.Name)
	if h.Open != nil && h.Open.Kind == KindEvacuate {
		again := h.Open.Cause == d.Cause || h.Open.Status != Rejected
		if again && (h.Open.Status == status || h.Open.Status == Rejected || h.Open.Status == Acting || h.Open.Status == Approved) {
			return d, false
		}
		if again && h.Open.Status == Waiting && status == HeldBack {
			return d, false // a person is asked already
		}
		d.Supersedes = h.Open.ID
	}
	d.Status = status
	if status == Acting {
		d.State = Evacuating
		b.act(h.Name)
	}
	d.Placements = PlaceHost(s, p, h.Name, now)
	d.Summary = over(h.Risk, d.Threshold) + moves(d.Placements)
	if why != "" {
		d.Summary += "; " + why
	}
	return d, true
}

// threat decides about a component whose failure would not take the whole host.
func threat(s Snapshot, p Policy, h *Host, t Threat, b *brakes, now time.Time) (Decision, bool) {
	open, standing := h.OpenThreats[t.Component]
	d := Decision{Host: h.Name, Component: t.Component, Risk: t.Risk, Cause: t.Component + ": " + Cause(t.Risk, t.Hold.Level)}
	if t.Hold.Level < LevelEvacuate {
		if standing && open.Status != Acting {
			d.Status, d.Supersedes = Superseded, open.ID
			d.Summary = fmt.Sprintf("risk of %s fell to %s", t.Component, pfa.Percent(t.Risk.P30d))
			return d, true
		}
		return d, false
	}
	if !t.Risk.Hard {
		d.Threshold = p.Evacuate.Enter
	}
	domains := s.running(h.Name, t.Domains)
	if len(domains) == 0 {
		if standing {
			return d, false
		}
		d.Kind, d.Status = KindNotice, Recorded
		d.Summary = fmt.Sprintf("%s: %s; %s: replace it, no guest needs to leave", t.Component, t.Impact, over(t.Risk, d.Threshold))
		return d, true
	}
	if h.State == Evacuating || h.State == Drained || h.Hold.Level == LevelEvacuate {
		return d, false // they leave with the host
	}
	d.Kind = KindMoveDomains
	status, why := b.status(h.Name)
	if standing {
		same := open.Cause == d.Cause
		if open.Kind == KindMoveDomains && (open.Status == status || open.Status == Acting || open.Status == Approved || (open.Status == Rejected && same) ||
			(open.Status == Waiting && status == HeldBack)) {
			return d, false
		}
		if open.Status == DoneStatus && same && !slices.ContainsFunc(domains, func(x string) bool { return !slices.Contains(open.Domains, x) }) {
			return d, false // those that stayed are tried again under it
		}
		d.Supersedes = open.ID
	}
	d.Status = status
	if status == Acting {
		b.act(h.Name)
	}
	d.Placements = Place(s, p, domains, now)
	d.Summary = fmt.Sprintf("%s %s: %s%s", t.Component, t.Impact, over(t.Risk, d.Threshold), moves(d.Placements))
	if why != "" {
		d.Summary += "; " + why
	}
	return d, true
}

// Cause names what stands behind a decision, coarsely enough that the daily
// wobble of a score is no new cause, and finely enough that worse news is.
func Cause(r Risk, l Level) string {
	if r.Hard {
		var signals []string
		for _, x := range r.Reasons {
			if x.Weight == 0 && !slices.Contains(signals, x.Signal) {
				signals = append(signals, x.Signal)
			}
		}
		slices.Sort(signals)
		return "hard " + strings.Join(signals, ",")
	}
	if l < LevelEvacuate {
		return l.String()
	}
	// Each halving of what is left to certainty is news.
	steps := int(-math.Log2(max(1-r.P30d/100, 1e-3)))
	return fmt.Sprintf("%s %d", l, steps)
}

func over(r Risk, threshold float64) string {
	if r.Hard {
		text := "hard evidence"
		for _, x := range r.Reasons {
			if x.Weight == 0 {
				text += ": " + x.Text
				break
			}
		}
		return text
	}
	text := fmt.Sprintf("risk %s within 30 days, threshold %s", pfa.Percent(r.P30d), pfa.Percent(threshold))
	if len(r.Reasons) > 0 {
		text += ", because of " + r.Reasons[0].Text
	}
	return text
}

func moves(ps []Placement) string {
	stay := 0
	for _, p := range ps {
		if p.Target == "" && !strings.HasPrefix(p.Why, "it is being moved") {
			stay++
		}
	}
	switch {
	case len(ps) == 0:
		return "; nothing runs there"
	case stay == 0:
		return fmt.Sprintf("; %d to move", len(ps))
	}
	return fmt.Sprintf("; %d to move, %d of them cannot now", len(ps), stay)
}
