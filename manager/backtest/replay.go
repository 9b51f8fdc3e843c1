package backtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa/ledger"
	"github.com/vireo-kvm/vireo/store"
)

// Step is one change of a host's level that would have happened.
type Step struct {
	At        time.Time     `json:"at"`
	Host      string        `json:"host"`
	From      string        `json:"from"`
	To        string        `json:"to"`
	Percent   float64       `json:"percent"`
	Hard      bool          `json:"hard,omitempty"`
	Component string        `json:"component"`
	Reason    string        `json:"reason"`
	Guests    int           `json:"guests"`     // that would have left
	MemoryKiB uint64        `json:"memory_kib"` // of them
	Transfer  time.Duration `json:"transfer"`   // at the policy's bandwidth
	Outcome   string        `json:"outcome"`    // what came of the component, by the ledger's marks
	Lead      time.Duration `json:"lead"`       // from here to its failure, if it failed
	Wasted    bool          `json:"wasted"`     // guests left, and the component lived on for the horizon
	Domains   []string      `json:"domains"`    // when a device that only some guests need was the cause
}

// Result is a replay's.
type Result struct {
	Model     string    `json:"model"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
	Hosts     int       `json:"hosts"`
	Steps     []Step    `json:"steps"`
	Moves     int       `json:"moves"`
	MemoryKiB uint64    `json:"memory_kib"`
	Ahead     int       `json:"failures_ahead"` // failing components whose guests would have left before
	Missed    int       `json:"failures_missed"`
	Wasted    int       `json:"moves_wasted"`
}

// Replay looks at each host at the end of each day that has readings, as the
// manager does with new readings. Guests are those that the hosts hold now: who
// was where then is not stored.
func Replay(ctx context.Context, fleet []Host, scorer manager.Scorer, policy decide.Policy, marks []ledger.Mark, progress func(done, of int)) (Result, error) {
	out := Result{Model: scorer.Name(), Hosts: len(fleet)}
	moved := map[string]bool{} // components because of which guests have left
	for i := range fleet {
		if err := replay(&out, &fleet[i], scorer, policy, marks, moved); err != nil {
			return out, fmt.Errorf("host %s: %w", fleet[i].Name, err)
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
		progress(i+1, len(fleet))
	}
	for _, m := range marks {
		switch {
		case m.Outcome != ledger.Failed || m.At.Before(out.From) || m.At.After(out.Until.AddDate(0, 0, 1)):
		case moved[m.Component]:
			out.Ahead++
		default:
			out.Missed++
		}
	}
	slices.SortStableFunc(out.Steps, func(a, b Step) int { return a.At.Compare(b.At) })
	for _, s := range out.Steps {
		out.Moves, out.MemoryKiB = out.Moves+s.Guests, out.MemoryKiB+s.MemoryKiB
		if s.Wasted {
			out.Wasted += s.Guests
		}
	}
	return out, nil
}

func replay(out *Result, h *Host, scorer manager.Scorer, policy decide.Policy, marks []ledger.Mark, moved map[string]bool) error {
	memories := map[string]manager.Memory{}
	var hold decide.Hold
	threats := map[string]decide.Hold{}
	for n := 0; n < len(h.Readings); {
		day := h.Readings[n].ObservedAt.UTC().Truncate(24 * time.Hour)
		for ; n < len(h.Readings) && h.Readings[n].ObservedAt.Before(day.AddDate(0, 0, 1)); n++ {
			r := h.Readings[n]
			m := memories[r.Component]
			if m == nil {
				var err error
				if m, err = scorer.Memory(r.Component, nil); err != nil {
					return err
				}
				memories[r.Component] = m
			}
			m.Observe(r)
		}
		at := h.Readings[n-1].ObservedAt
		if out.From.IsZero() || at.Before(out.From) {
			out.From = at
		}
		if at.After(out.Until) {
			out.Until = at
		}
		var parts []manager.Memory
		for _, name := range slices.Sorted(maps.Keys(memories)) {
			parts = append(parts, memories[name])
		}
		a := scorer.Assess(h.Name, parts, h.Needs, at)
		step := func(before, after decide.Hold, risk decide.Risk, component string, guests []store.Claim, domains []string) {
			if before.Level == after.Level {
				return
			}
			s := Step{At: at, Host: h.Name, From: before.Level.String(), To: after.Level.String(), Percent: risk.P30d, Hard: risk.Hard,
				Component: component, Domains: domains}
			if len(risk.Reasons) > 0 {
				s.Reason = risk.Reasons[0].Text
			}
			if after.Level == decide.LevelEvacuate {
				s.move(guests, policy)
				moved[component] = true
			}
			s.judge(marks)
			out.Steps = append(out.Steps, s)
		}
		next := hold.Observe(a.Host, true, policy, at)
		step(hold, next, a.Host, a.Host.Component, h.Guests, nil)
		hold = next
		for _, t := range a.Threats {
			before := threats[t.Component]
			after := before.Observe(t.Risk, true, policy, at)
			if len(t.Domains) > 0 {
				step(before, after, t.Risk, t.Component, slices.DeleteFunc(slices.Clone(h.Guests), func(c store.Claim) bool {
					return !slices.Contains(t.Domains, c.Domain)
				}), t.Domains)
			}
			threats[t.Component] = after
		}
	}
	return nil
}

func (s *Step) move(guests []store.Claim, policy decide.Policy) {
	for _, g := range guests {
		s.Guests++
		s.MemoryKiB += g.MemoryKiB
	}
	if policy.Bandwidth > 0 {
		s.Transfer = time.Duration(float64(s.MemoryKiB) * 1024 / float64(policy.Bandwidth) * float64(time.Second)).Round(time.Second)
	}
}

// judge says what came of the component after the step.
func (s *Step) judge(marks []ledger.Mark) {
	s.Outcome = "not marked as failed"
	for _, m := range marks {
		if m.Component != s.Component || m.At.Before(s.At) {
			continue
		}
		s.Lead = m.At.Sub(s.At)
		s.Outcome = fmt.Sprintf("%s %.0f days later", m.Outcome, s.Lead.Hours()/24)
		s.Wasted = s.Guests > 0 && m.Outcome == ledger.Healthy
		return
	}
	s.Wasted = s.Guests > 0 && !s.Hard
}
