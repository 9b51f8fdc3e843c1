package manager

import (
	"cmp"
	"maps"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// view says from whose eyes a snapshot is.
type view struct {
	without string // a planned row that is not there
	byHand  bool   // a person asks: cooldowns of automation do not count
	// only: what matters to these domains alone; nil: everything.
	only []string
}

// snapshot is what decisions look at now.
func (c *Core) snapshot(now time.Time, v view) decide.Snapshot {
	s := decide.Snapshot{At: now, Automation: c.settings.automation}
	claimed, decisions := c.claimedKiB(v.without), c.sortedDecisions()
	for _, h := range c.sortedHosts() {
		if h.Revoked.IsZero() {
			s.Hosts = append(s.Hosts, c.hostView(h, v, claimed[h.Name]))
		}
	}
	for _, d := range decisions {
		if i, ok := slices.BinarySearchFunc(s.Hosts, d.Host, func(h decide.Host, name string) int { return cmp.Compare(h.Name, name) }); ok && d.standing() {
			stands(&s.Hosts[i], d)
		}
	}
	domains := v.only
	if domains == nil {
		domains = slices.Collect(maps.Keys(c.claims))
	}
	for _, uuid := range slices.Sorted(slices.Values(domains)) {
		if cl := c.claims[uuid]; cl != nil {
			s.Domains = append(s.Domains, c.domainView(cl, v, now))
		}
	}
	for _, d := range decisions {
		if d.automatic() && now.Sub(d.At) < c.pol.Decide.Window {
			s.Acted = append(s.Acted, decide.Acted{Host: d.Host, At: d.At})
		}
	}
	return s
}

// stands notes a decision that stands about a host.
func stands(h *decide.Host, d *standing) {
	open := decide.OpenDecision{ID: d.ID, Kind: decide.Kind(d.Kind), Status: decide.Status(d.Status), Cause: d.Cause, Domains: d.domains}
	if d.Component == "" {
		h.Open = &open
		return
	}
	if h.OpenThreats == nil {
		h.OpenThreats = map[string]decide.OpenDecision{}
	}
	h.OpenThreats[d.Component] = open
}

func (c *Core) hostView(h *host, v view, claimedKiB uint64) decide.Host {
	out := decide.Host{
		Name: h.Name, State: decide.State(h.State), Alive: h.alive(), AliveWhy: h.why, TakesNothing: h.takes,
		Risk: h.risk.now.Host, Hold: h.risk.hold,
		MemoryKiB: h.Facts.MemoryKiB, ClaimedKiB: claimedKiB, Arch: h.Facts.Arch, CPUXML: h.Facts.CPUXML,
		MachineTypes: h.Facts.MachineTypes, Bridges: h.Facts.Bridges, Networks: h.Facts.Networks, PreferredTarget: h.PreferredTarget,
	}
	for _, t := range h.risk.now.Threats {
		t.Hold = h.risk.threats[t.Component]
		out.Threats = append(out.Threats, t)
	}
	for _, uuid := range slices.Sorted(maps.Keys(h.seen)) {
		d := h.seen[uuid]
		if d.GetState() == agentv1.DomainState_DOMAIN_STATE_NONE || !c.concerns(uuid, d.GetName(), v.only) {
			continue
		}
		p := decide.Present{UUID: uuid, Name: d.GetName(), Active: active(d.Domain)}
		for _, disk := range d.GetDisks() {
			p.Disks = append(p.Disks, disk.GetSource())
		}
		slices.Sort(p.Disks)
		out.Present = append(out.Present, p)
	}
	return out
}

// concerns says whether a domain that a host knows can be in the way of one of
// some domains: by UUID or by name.
func (c *Core) concerns(uuid, name string, only []string) bool {
	if only == nil || slices.Contains(only, uuid) {
		return true
	}
	return slices.ContainsFunc(only, func(id string) bool { cl := c.claims[id]; return cl != nil && cl.Name == name })
}

func (c *Core) domainView(cl *claim, v view, now time.Time) decide.Domain {
	d := decide.Domain{UUID: cl.Domain, Name: cl.Name, Host: cl.Holder, MemoryKiB: cl.MemoryKiB, Phase: string(cl.Phase)}
	if m := c.moveOf(cl.Domain); m != nil && m.row.ID != v.without {
		d.Moving = m.row.ID
	}
	c.tries(&d, v, now)
	h := c.hosts[cl.Holder]
	if h == nil {
		return d
	}
	s := h.seen[cl.Domain]
	if s == nil {
		return d
	}
	d.Running = active(s.Domain) && !incoming(s.Domain)
	d.MemoryKiB = cmp.Or(s.GetMemoryKib(), cl.MemoryKiB)
	d.Machine, d.CPUXML, d.Bridges, d.Networks = s.GetMachine(), s.GetCpuXml(), s.GetBridges(), s.GetNetworks()
	d.Blockers = slices.Clone(s.GetBlockers())
	if s.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED && s.GetPause() == agentv1.Pause_PAUSE_MOVE {
		d.Blockers = append(d.Blockers, "a move has left it paused")
	}
	if j := s.GetJob(); j != nil && d.Moving == "" {
		d.Blockers = append(d.Blockers, "libvirt is at work on it: "+cmp.Or(j.GetOperation(), "a job"))
	}
	for _, disk := range s.GetDisks() {
		d.Disks = append(d.Disks, decide.Disk{Target: disk.GetTarget(), Source: disk.GetSource(), Local: disk.GetLocal()})
	}
	return d
}

// tries puts in what earlier attempts taught: targets that refused it, and how
// long to leave it alone.
func (c *Core) tries(d *decide.Domain, v view, now time.Time) {
	refused := func(host, why string) {
		if d.Refused == nil {
			d.Refused = map[string]string{}
		}
		d.Refused[host] = why
	}
	for key := range c.owed {
		if key.domain == d.UUID && key.kind == store.OwedVoid {
			refused(key.host, "it has not confirmed the end of an earlier move ("+key.attempt+")")
		}
	}
	t := c.book.tries[d.UUID]
	if t == nil {
		return
	}
	for target, r := range t.refused {
		if now.Sub(r.at) < c.pol.Retry.Refused {
			refused(target, "it refused lately: "+r.why)
		}
	}
	until := t.moved.Add(c.pol.Cooldown)
	if h := c.hosts[d.Host]; !v.byHand && !t.moved.IsZero() && now.Before(until) && (h == nil || !h.Risk.Hard) {
		d.NotBefore, d.NotBeforeWhy = until, "it was moved a short time ago"
	}
}

// refusal is what a target said when it could not take a domain.
type refusal struct {
	why string
	at  time.Time
}

// tried is what earlier rows of a domain taught. It is read again from the
// stored rows when the manager starts.
type tried struct {
	refused  map[string]refusal
	moved    time.Time // last arrival
	decision string    // the failures below were under this one
	failures int
	last     time.Time
	gaveUp   string // why it is not tried again under this decision
}

// noteEnd learns from a row that has ended.
func (c *Core) noteEnd(r migration.Row, _ time.Time) {
	t := c.book.tries[r.Domain]
	if t == nil {
		t = &tried{refused: map[string]refusal{}}
		c.book.tries[r.Domain] = t
	}
	for _, s := range r.Steps {
		if s.Name == "target refused" {
			t.refused[r.Target] = refusal{s.Detail, s.At}
		}
	}
	if t.decision != r.Decision {
		t.decision, t.failures, t.gaveUp = r.Decision, 0, ""
	}
	if r.State == migration.Done {
		t.moved, t.failures, t.gaveUp = r.Ended, 0, ""
		return
	}
	t.failures++
	t.last = r.Ended
	switch {
	case t.failures >= c.pol.Retry.Attempts:
		t.gaveUp = "given up after " + plural(t.failures, "attempt") + ": " + r.Outcome
	case abortedByHand(r):
		t.gaveUp = r.Outcome
	}
}

// loadTries learns from the rows that the store has of the last days.
func (c *Core) loadTries(r store.Reader, now time.Time) error {
	rows, err := r.Migrations(store.MigrationFilter{Limit: 1000})
	if err != nil {
		return err
	}
	for _, row := range slices.Backward(rows) { // oldest first
		if row.State.Ended() {
			c.noteEnd(row, now)
		}
	}
	return nil
}
