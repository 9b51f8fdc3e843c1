package manager

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// ModelScorer makes a model of package pfa the manager's Scorer.
type ModelScorer struct{ Model *pfa.Model }

var _ Scorer = ModelScorer{}

// Name identifies the model.
func (s ModelScorer) Name() string { return s.Model.Name() }

// memory is pfa's state as a Memory.
type memory struct{ *pfa.State }

// Snapshot gives the state's bytes.
func (m memory) Snapshot() ([]byte, error) { return m.State.Snapshot(), nil }

// Memory restores a state, or makes a new one.
func (s ModelScorer) Memory(component string, snapshot []byte) (Memory, error) {
	if snapshot == nil {
		return memory{pfa.NewState(component)}, nil
	}
	st, err := pfa.Restore(snapshot)
	if err != nil {
		return nil, fmt.Errorf("memory of %s: %w", component, err)
	}
	if st.Component() != component {
		return nil, fmt.Errorf("memory of %s: the snapshot is %s's", component, st.Component())
	}
	return memory{st}, nil
}

// topReasons is how many reasons of a score are kept and shown.
const topReasons = 4

// Assess scores every component and says what that means for the host.
func (s ModelScorer) Assess(host string, components []Memory, needs []store.Dependency, at time.Time) Assessment {
	verdicts := make([]pfa.Verdict, 0, len(components))
	for _, c := range components {
		v := s.Model.Score(c.(memory).State, at)
		if (!v.Modelled || v.Observed.IsZero()) && len(v.Hard) == 0 {
			continue // nothing is known about it: no model for its kind, or not read yet
		}
		if signal.ComponentKind(v.Component) == "collector" && len(v.Hard) == 0 {
			continue // it works: no part of the host
		}
		verdicts = append(verdicts, v)
	}
	hv := pfa.HostRisk(verdicts, dependencies(verdicts, needs), at)
	out := Assessment{Host: riskOf(hv.Host, at), Notes: hv.Notes}
	out.Host.Hard, out.Host.Model = hv.Failing, s.Name()
	for _, p := range hv.Parts { // the strongest first
		r := riskOf(p.Verdict.Risk, at)
		r.Hard, r.Grade, r.Model, r.Component = p.Verdict.IsFailing(), string(p.Verdict.Grade), p.Verdict.Model, p.Verdict.Component
		r.Reasons = reasonsOf(p.Verdict)
		out.Components = append(out.Components, store.ComponentRisk{
			Host: host, Component: p.Verdict.Component, Score: storeRisk(r), Reasons: storeReasons(r.Reasons), Impact: p.Text, Model: p.Verdict.Model,
		})
		switch p.Effect {
		case pfa.EffectHost, pfa.EffectUnknown:
			if out.Host.Component == "" {
				out.Host.Component, out.Host.Grade = p.Verdict.Component, r.Grade
			}
			for _, x := range r.Reasons {
				x.Text = p.Verdict.Component + ": " + x.Text
				out.Host.Reasons = append(out.Host.Reasons, x)
			}
		case pfa.EffectDomains, pfa.EffectNone:
			out.Threats = append(out.Threats, decide.Threat{Component: p.Verdict.Component, Risk: r, Domains: p.Domains, Impact: p.Text})
		}
	}
	if len(out.Host.Reasons) > 2*topReasons {
		out.Host.Reasons = out.Host.Reasons[:2*topReasons]
	}
	return out
}

// dependencies translates what the agent says needs a device. An agent that
// knows what the root file system lies on has looked: a drive that it then does
// not name is needed by nothing. Without that nobody knows.
func dependencies(verdicts []pfa.Verdict, needs []store.Dependency) pfa.Dependencies {
	out := pfa.Dependencies{}
	looked := false
	for _, d := range needs {
		list := out[d.Component]
		switch kind := pfa.DependencyKind(d.Kind); kind {
		case pfa.NeedsRoot:
			looked = true
			list = append(list, pfa.Dependency{Kind: kind, Name: d.Name})
		case pfa.NeedsSwap, pfa.NeedsDomain, pfa.NeedsBridge:
			list = append(list, pfa.Dependency{Kind: kind, Name: d.Name})
		default:
			if system(d.Name) {
				list = append(list, pfa.Dependency{Kind: pfa.NeedsRoot, Name: d.Name})
			} else if list == nil {
				list = []pfa.Dependency{} // known, and no guest needs it
			}
		}
		out[d.Component] = list
	}
	if looked {
		for _, v := range verdicts {
			if _, known := out[v.Component]; !known {
				out[v.Component] = []pfa.Dependency{}
			}
		}
	}
	return out
}

// system says whether a host cannot work without what is mounted there. What
// lies below libvirt's own directory are images: the domains that have them are
// named one by one.
func system(mount string) bool {
	if strings.HasPrefix(mount, "/var/lib/libvirt/") {
		return false
	}
	for _, dir := range [...]string{"/usr", "/var", "/etc", "/opt", "/boot"} {
		if mount == dir || strings.HasPrefix(mount, dir+"/") {
			return true
		}
	}
	return mount == "/"
}

func riskOf(r pfa.Risk, at time.Time) decide.Risk {
	return decide.Risk{P24h: r.Day.Percent, P7d: r.Week.Percent, P30d: r.Month.Percent, Low30d: r.Month.Lo, High30d: r.Month.Hi, At: at}
}

// reasonsOf puts hard evidence first: it needs no probability.
func reasonsOf(v pfa.Verdict) []decide.Reason {
	var out []decide.Reason
	for _, e := range v.Hard {
		value := e.Value
		out = append(out, decide.Reason{Signal: e.Signal, Text: e.Text, Value: &value, Since: e.Since})
	}
	for _, r := range v.Top(topReasons) {
		x := decide.Reason{Signal: r.Signal, Text: r.Text, Since: r.Since, Weight: r.Contribution}
		if r.Part == pfa.PartSignal {
			value := r.Value
			x.Value, x.Usual = &value, strconv.FormatFloat(r.Usual, 'g', 6, 64)
		}
		out = append(out, x)
	}
	return out
}
