package pfa

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DependencyKind says what of a host needs a device.
type DependencyKind string

// What may depend on a device. The values are those of the wire.
const (
	NeedsRoot   DependencyKind = "root"   // the root file system
	NeedsSwap   DependencyKind = "swap"   // swap space
	NeedsDomain DependencyKind = "domain" // a disk of the domain Name (its UUID)
	NeedsBridge DependencyKind = "bridge" // the bridge Name, through which domains reach the network
)

// Dependency is one thing that needs a device.
type Dependency struct {
	Kind DependencyKind `json:"kind"`
	Name string         `json:"name,omitempty"`
}

// Dependencies says, by component, what needs it. A component with an empty
// list is needed by nothing; one that is not in the map is a component of which
// nobody knows, which is something else.
type Dependencies map[string][]Dependency

// Effect is what a component's failure does to its host.
type Effect string

const (
	EffectHost    Effect = "host"    // all guests are harmed
	EffectDomains Effect = "domains" // the named domains are harmed
	EffectNone    Effect = "none"    // nothing needs it: a notice
	EffectUnknown Effect = "unknown" // what needs it is not known; counted as if the host did
)

// ComponentEffect is one component's verdict with what it means.
type ComponentEffect struct {
	Verdict Verdict  `json:"verdict"`
	Effect  Effect   `json:"effect"`
	Domains []string `json:"domains,omitempty"` // the domains harmed, when Effect is EffectDomains
	Text    string   `json:"text"`              // what it means, said of the component: "holds the root file system"
}

// HostVerdict is what the components' verdicts mean for a host.
type HostVerdict struct {
	At      time.Time       `json:"at"`
	Host    Risk            `json:"host"`    // that all guests are harmed: what empties a host
	Any     Risk            `json:"any"`     // that any guest is harmed
	Domains map[string]Risk `json:"domains"` // by domain: that it is harmed through a device only some need
	Failing bool            `json:"failing"` // hard evidence on something the host needs
	// FailingDomains are those with a disk on a failing device that the host
	// itself does not need.
	FailingDomains []string          `json:"failing_domains,omitempty"`
	Parts          []ComponentEffect `json:"parts"` // the strongest first
	Notes          []string          `json:"notes"` // what could not be known, and what is only a notice
}

// HostRisk combines the verdicts of one host's components. Components fail
// independently as far as anyone knows; the result is the probability that at
// least one that matters does.
func HostRisk(components []Verdict, needs Dependencies, at time.Time) HostVerdict {
	out := HostVerdict{At: at, Domains: map[string]Risk{}}
	var unmodelled []string
	for _, v := range components {
		part := effectOf(v, needs)
		out.Parts = append(out.Parts, part)
		switch part.Effect {
		case EffectHost, EffectUnknown:
			out.Host = eitherRisk(out.Host, v.Risk)
			out.Any = eitherRisk(out.Any, v.Risk)
			out.Failing = out.Failing || v.IsFailing()
		case EffectDomains:
			out.Any = eitherRisk(out.Any, v.Risk)
			for _, d := range part.Domains {
				out.Domains[d] = eitherRisk(out.Domains[d], v.Risk)
				if v.IsFailing() && !slices.Contains(out.FailingDomains, d) {
					out.FailingDomains = append(out.FailingDomains, d)
				}
			}
		}
		switch {
		case !v.Modelled && len(v.Hard) == 0:
			unmodelled = append(unmodelled, v.Component)
		case v.Observed.IsZero():
			out.Notes = append(out.Notes, fmt.Sprintf("%s: nothing read yet", v.Component))
		case part.Effect == EffectUnknown:
			out.Notes = append(out.Notes, v.Component+": "+part.Text)
		case part.Effect == EffectNone && len(v.Hard) > 0:
			out.Notes = append(out.Notes, v.Component+": "+part.Text+"; "+v.Hard[0].Text)
		case part.Effect == EffectNone && v.Risk.Month.Percent >= notable:
			out.Notes = append(out.Notes, v.Component+": "+part.Text)
		}
	}
	if len(unmodelled) > 0 {
		slices.Sort(unmodelled)
		out.Notes = append(out.Notes, "no model for "+strings.Join(unmodelled, ", ")+": only hard evidence counts")
	}
	slices.SortStableFunc(out.Parts, func(a, b ComponentEffect) int {
		if f := cmp.Compare(indicator(b.Verdict.IsFailing()), indicator(a.Verdict.IsFailing())); f != 0 {
			return f
		}
		return cmp.Compare(b.Verdict.Risk.Month.Percent, a.Verdict.Risk.Month.Percent)
	})
	slices.Sort(out.Notes)
	slices.Sort(out.FailingDomains)
	return out
}

// notable is the 30-day risk, in percent, from which a component that nothing
// needs is worth a notice.
const notable = 2

func effectOf(v Verdict, needs Dependencies) ComponentEffect {
	out := ComponentEffect{Verdict: v, Effect: EffectHost}
	kind, _, _ := strings.Cut(v.Component, ":")
	if kind == "collector" {
		out.Effect = EffectNone
		out.Text = "what it reads is missing"
		return out
	}
	if kind != "disk" && kind != "nic" { // memory, processors and the kernel carry every guest
		out.Text = "carries every guest"
		return out
	}
	list, known := needs[v.Component]
	if !known {
		out.Effect = EffectUnknown
		out.Text = "what depends on it is not known: counted as if the host did"
		return out
	}
	var host, domains []string
	say := func(what string) { // several partitions may say the same
		if !slices.Contains(host, what) {
			host = append(host, what)
		}
	}
	for _, d := range list {
		switch d.Kind {
		case NeedsRoot:
			say("the root file system")
		case NeedsSwap:
			say("swap")
		case NeedsBridge:
			say("bridge " + d.Name)
		case NeedsDomain:
			if !slices.Contains(domains, d.Name) {
				domains = append(domains, d.Name)
			}
		default:
			say(string(d.Kind) + " " + d.Name)
		}
	}
	switch {
	case len(host) > 0:
		out.Text = "holds " + strings.Join(host, ", ")
	case len(domains) > 0:
		slices.Sort(domains)
		out.Effect, out.Domains = EffectDomains, domains
		out.Text = "holds disks of " + strings.Join(domains, ", ")
	default:
		out.Effect = EffectNone
		out.Text = "nothing on this host needs it"
	}
	return out
}

func eitherRisk(a, b Risk) Risk {
	return Risk{Day: either(a.Day, b.Day), Week: either(a.Week, b.Week), Month: either(a.Month, b.Month)}
}

// either is the probability that at least one of two independent things
// happens.
func either(a, b Estimate) Estimate {
	or := func(x, y float64) float64 { return x + y - x*y/100 }
	return Estimate{Percent: or(a.Percent, b.Percent), Lo: or(a.Lo, b.Lo), Hi: or(a.Hi, b.Hi)}
}
