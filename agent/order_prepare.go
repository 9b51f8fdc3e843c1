package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// prepare reserves an attempt on the target, after checking that the domain can
// arrive here.
func (c *Core) prepare(d *domain, o *agentv1.Order, p *agentv1.Prepare, now time.Time) {
	attempt := o.GetAttempt()
	switch a := d.Attempt; {
	case d.IsVoid(attempt):
		c.refuse(d, o, now, "attempt %s is void", attempt)
		return
	case a != nil && a.ID == attempt && a.Role == journal.Target && a.Stage == journal.Prepared:
		c.done(d, o, now)
		return
	case a != nil && a.ID == attempt:
		c.refuse(d, o, now, "attempt %s is %s here, as its %s", attempt, a.Stage, a.Role)
		return
	case d.leaving() != nil && d.leaving().Gone == "" && a.Stage == journal.Started:
		c.refuse(d, o, now, "this host is the source of attempt %s, which is not over", a.ID)
		return
	case p.GetDomain().GetUuid() != d.UUID:
		c.refuse(d, o, now, "the order does not describe the domain")
		return
	}
	if why := c.takesNot(); why != "" {
		c.refuse(d, o, now, "%s", why)
		return
	}
	if len(d.Starts) > 0 || c.startedAlone(d, now) {
		c.refuse(d, o, now, "the domain is being started here")
		return
	}
	want := p.GetDomain()
	c.Hands.Survey(question(want), func(now time.Time, g Ground, err error) {
		c.step++
		if err != nil {
			c.fail(d, o, now, err)
			return
		}
		why := judge(want, g, c.reserved(attempt))
		// The order may have been overtaken while libvirt was asked.
		for _, overtaken := range []string{c.stale(o), c.takesNot()} {
			if overtaken != "" {
				why = append(why, overtaken)
			}
		}
		if len(why) > 0 {
			c.refuse(d, o, now, "%s", strings.Join(why, "; "))
			return
		}
		old := d.Attempt
		next := d.raised(o)
		retire(&next)
		next.Phase, next.Confirmed = journal.Transferring, false
		next.Attempt = &journal.Attempt{ID: attempt, Role: journal.Target, Stage: journal.Prepared, Arrival: &journal.Arrival{
			Source: p.GetSource(), Name: want.GetName(), MemoryKiB: want.GetMemoryKib(), StoodBefore: g.Domain != nil,
		}}
		if !c.promise(d, o, next, now) {
			return
		}
		c.unwatch(d, old)
		c.done(d, o, now)
		c.sight(d)
	})
}

// takesNot says why this host takes no new domain, "" when it does.
func (c *Core) takesNot() string {
	if c.host.TakesNothing {
		return "this host takes nothing new"
	}
	return ""
}

// question is what has to be asked of this host before the domain is sent here.
func question(want *agentv1.Domain) Question {
	q := Question{UUID: want.GetUuid(), Name: want.GetName(), CPUXML: want.GetCpuXml(), Bridges: want.GetBridges()}
	for _, x := range want.GetDisks() {
		if x.GetType() == "file" || x.GetType() == "block" || x.GetType() == "dir" {
			q.Paths = append(q.Paths, x.GetSource())
		}
	}
	return q
}

// judge says why the domain can't arrive here; nothing when it can, as far as
// a host can tell before it has come. reservedKiB is promised to others.
func judge(want *agentv1.Domain, g Ground, reservedKiB uint64) (why []string) {
	no := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if g.Domain != nil {
		judgeStanding(want, g, no)
	}
	if g.NameOwner != "" && g.NameOwner != want.GetUuid() {
		no("the name %q belongs to domain %s here", want.GetName(), g.NameOwner)
	}
	for _, b := range g.NoBridge {
		no("there is no bridge %q", b)
	}
	for _, p := range g.NoPath {
		no("disk image %q is not here", p)
	}
	for _, name := range want.GetNetworks() {
		active := false
		for _, n := range g.Networks {
			active = active || n.Name == name && n.Active
		}
		if !active {
			no("there is no active network %q", name)
		}
	}
	if g.CPUProblem != "" {
		no("CPU: %s", g.CPUProblem)
	}
	if m := want.GetMachine(); m != "" && len(g.Machines) > 0 && !slices.Contains(g.Machines, m) {
		no("machine type %q is not known here", m)
	}
	if avail := g.MemoryAvailableKiB; avail > 0 && avail < want.GetMemoryKib()+reservedKiB {
		no("memory: %d KiB are available, %d KiB of them promised to others, %d KiB needed", avail, reservedKiB, want.GetMemoryKib())
	}
	return why
}

// judgeStanding looks at a domain of that UUID that is here already: a leftover
// definition of the same guest may stay, anything else is in the way.
func judgeStanding(want *agentv1.Domain, g Ground, no func(string, ...any)) {
	here := g.Domain
	switch {
	case here.Present():
		no("a process of the domain is here already: %s (%s)", here.State, here.Reason)
	case here.ManagedSave:
		no("a managed save image of the domain is here: old memory for newer disks")
	case here.Name != want.GetName():
		no("the UUID belongs to domain %q here", here.Name)
	}
	mine := map[string]string{}
	for _, x := range here.Disks {
		if !x.Empty() {
			mine[x.Target] = disk(x, false).Source
		}
	}
	theirs := map[string]string{}
	for _, x := range want.GetDisks() {
		theirs[x.GetTarget()] = x.GetSource()
	}
	for _, x := range want.GetDisks() {
		if source, is := mine[x.GetTarget()]; !is || source != x.GetSource() {
			no("the UUID is defined here with other disks: %s is %q, not %q", x.GetTarget(), source, x.GetSource())
		}
	}
	for _, target := range slices.Sorted(maps.Keys(mine)) {
		if _, is := theirs[target]; !is {
			no("the UUID is defined here with other disks: %s is %q", target, mine[target])
		}
	}
}
