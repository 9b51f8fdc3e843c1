package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// brakes hold automation back. They know whom it acted upon lately and who is
// bad at the same time; an answer that acts counts against the next.
type brakes struct {
	policy     Policy
	automation bool
	limit      int
	acted      []string // hosts acted upon in the window
	bad        []string // hosts whose evidence wants guests to leave and that nothing was done for yet
}

func newBrakes(s Snapshot, p Policy, now time.Time) *brakes {
	b := &brakes{policy: p, automation: s.Automation, limit: p.limit(len(s.Hosts))}
	for _, a := range s.Acted {
		if now.Sub(a.At) < p.Window {
			b.act(a.Host)
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if !h.Alive || h.State == Maintenance || slices.Contains(b.acted, h.Name) {
			continue
		}
		wants := h.Hold.Level == LevelEvacuate && h.State != Evacuating && h.State != Drained
		for _, t := range h.Threats {
			wants = wants || (t.Hold.Level == LevelEvacuate && len(s.running(h.Name, t.Domains)) > 0 && h.State != Evacuating && h.State != Drained)
		}
		if wants {
			b.bad = append(b.bad, h.Name)
		}
	}
	return b
}

// act notes that a host is acted upon.
func (b *brakes) act(host string) {
	if !slices.Contains(b.acted, host) {
		b.acted = append(b.acted, host)
	}
	b.bad = slices.DeleteFunc(b.bad, func(h string) bool { return h == host })
}

// status is what a wish to move guests away from a host becomes, and why it does
// not simply act.
func (b *brakes) status(host string) (Status, string) {
	switch b.policy.Mode {
	case Shadow:
		return Recorded, "mode shadow: nothing follows"
	case Auto:
	default:
		return Waiting, "waiting for approval"
	}
	switch {
	case !b.automation:
		return HeldBack, "automation is off"
	case slices.Contains(b.acted, host):
		return Acting, ""
	case len(b.bad) > 1 && len(b.acted)+len(b.bad) > b.limit:
		return HeldBack, fmt.Sprintf("%d hosts turned bad together (%s), at most %d may be acted upon in %s: it may be the model, the network or the power, not the hosts",
			len(b.bad), strings.Join(b.bad, ", "), b.limit, b.policy.Window)
	case len(b.acted) >= b.limit:
		return HeldBack, fmt.Sprintf("%d of at most %d hosts were acted upon within %s (%s)", len(b.acted), b.limit, b.policy.Window, strings.Join(b.acted, ", "))
	}
	return Acting, ""
}
