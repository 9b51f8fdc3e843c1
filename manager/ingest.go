package manager

import (
	"slices"
	"strings"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/store"
)

// report takes a complete report: the whole picture of a host.
func (c *Core) report(now time.Time, s *Session, r *agentv1.Report) {
	h := s.host
	if r.GetSession() != s.id || r.GetBootId() != s.boot || r.GetSeq() <= s.seq {
		return // of another conversation, or overtaken
	}
	s.seq = r.GetSeq()
	if d := c.future(r.GetDomains()); d != nil && !c.fromTheFuture(h, d, now) {
		return
	}
	h.libvirtd, h.libvirtdErr = r.GetLibvirtd(), r.GetLibvirtdError()
	h.takes = r.GetTakesNothing()
	h.hookProblem, h.owes = r.GetHookProblem(), nil
	for _, s := range r.GetRefusedStarts() {
		if s.GetOwed() {
			if h.owes == nil {
				h.owes = map[string]bool{}
			}
			h.owes[s.GetDomain()] = true
		}
	}
	h.LastReport = now
	c.facts(h, r, now)
	if !h.libvirtd {
		// It says nothing about domains: neither that they run nor that they do not.
		h.reported = now
		why := "libvirtd does not answer"
		if h.libvirtdErr != "" {
			why += ": " + h.libvirtdErr
		}
		c.silence(h, why, now)
		return
	}
	h.reported, h.asked = now, r.GetAsked()
	seen := make(map[string]*sight, len(r.GetDomains()))
	for _, d := range r.GetDomains() {
		seen[d.GetUuid()] = &sight{Domain: d, asked: r.GetAsked(), at: now}
	}
	h.seen = seen
	c.speaks(h, now)
	c.remember(h, now)
	c.heard(h, now)
	for _, m := range c.sortedMoves() {
		if m.row.Source == h.Name || m.row.Target == h.Name {
			c.see(m, now)
			c.conduct(m, now)
		}
	}
	c.reconcileClaims(h, now)
	c.reconcileTakes(h, now)
	c.payOwedTo(h, now)
	c.fill(now)
	c.drained(now)
}

// sighting takes one domain's news. This is the hot path of a move: nothing
// comes between it and conduct.
func (c *Core) sighting(now time.Time, s *Session, g *agentv1.Sighting) {
	h := s.host
	if g.GetSession() != s.id || g.GetBootId() != s.boot || g.GetSeq() <= s.seq || g.GetDomain() == nil {
		return
	}
	s.seq = g.GetSeq()
	d := g.GetDomain()
	if c.future([]*agentv1.Domain{d}) != nil {
		c.ask(h) // the report says it all
		return
	}
	asked := max(g.GetAsked(), h.askedBefore(d.GetUuid()))
	h.seen[d.GetUuid()] = &sight{Domain: d, asked: asked, at: now}
	if !h.alive() {
		return // no complete report yet: the picture counts with it
	}
	if m := c.moveOf(d.GetUuid()); m != nil && (m.row.Source == h.Name || m.row.Target == h.Name) {
		c.see(m, now)
		c.conduct(m, now)
	}
	c.reconcileClaim(h, d.GetUuid(), now)
	c.rememberOne(h, h.seen[d.GetUuid()], now)
	c.fill(now)
}

// askedBefore is the number of the latest ask that came before what is known of a
// domain.
func (h *host) askedBefore(domain string) uint64 {
	if s := h.seen[domain]; s != nil {
		return s.asked
	}
	return h.asked
}

// facts takes what the report says about the host itself.
func (c *Core) facts(h *host, r *agentv1.Report, now time.Time) {
	f := r.GetFacts()
	facts := store.Facts{
		MemoryKiB: f.GetMemoryKib(), MemoryAvailableKiB: f.GetMemoryAvailableKib(), CPUs: f.GetCpus(), Arch: f.GetArch(),
		CPUXML: f.GetCpuXml(), MachineTypes: f.GetMachineTypes(), Bridges: f.GetBridges(), Networks: f.GetNetworks(),
		LibvirtVersion: f.GetLibvirtVersion(), QEMUVersion: f.GetQemuVersion(), AgentVersion: h.Facts.AgentVersion,
		PeerURI: f.GetPeerUri(), MigrateURI: f.GetMigrateUri(),
		HookMode:   strings.ToLower(strings.TrimPrefix(r.GetHookMode().String(), "HOOK_MODE_")),
		HookProven: r.GetHookProven(), TakesNothing: r.GetTakesNothing(),
	}
	if f == nil {
		old := h.Facts
		old.HookMode, old.HookProven, old.TakesNothing = facts.HookMode, facts.HookProven, facts.TakesNothing
		facts = old
	}
	for _, d := range r.GetDependencies() {
		facts.Dependencies = append(facts.Dependencies, store.Dependency{
			Component: d.GetComponent(), Name: d.GetName(),
			Kind: strings.ToLower(strings.TrimPrefix(d.GetKind().String(), "DEPENDENCY_KIND_")),
		})
	}
	if len(facts.Dependencies) == 0 {
		facts.Dependencies = h.Facts.Dependencies // it has not looked yet
	}
	slices.SortFunc(facts.Dependencies, compareDependencies)
	if !slices.Equal(facts.Dependencies, h.Facts.Dependencies) {
		h.risk.stale = true
	}
	if !sameFacts(facts, h.Facts) {
		h.dirty = true
	}
	h.Facts = facts
	if h.risk.stale {
		c.rescore(h, nil, now)
	}
}

func compareDependencies(a, b store.Dependency) int {
	return slices.Compare([]string{a.Component, a.Kind, a.Name}, []string{b.Component, b.Kind, b.Name})
}

// sameFacts compares all but the memory that happens to be free, which changes
// with every report and is shown from memory.
func sameFacts(a, b store.Facts) bool {
	return a.MemoryKiB == b.MemoryKiB && a.CPUs == b.CPUs && a.Arch == b.Arch && a.CPUXML == b.CPUXML &&
		slices.Equal(a.MachineTypes, b.MachineTypes) && slices.Equal(a.Bridges, b.Bridges) && slices.Equal(a.Networks, b.Networks) &&
		a.LibvirtVersion == b.LibvirtVersion && a.QEMUVersion == b.QEMUVersion && a.AgentVersion == b.AgentVersion &&
		a.PeerURI == b.PeerURI && a.MigrateURI == b.MigrateURI && a.HookMode == b.HookMode && a.HookProven == b.HookProven &&
		a.TakesNothing == b.TakesNothing && slices.Equal(a.Dependencies, b.Dependencies)
}

// remember keeps what a complete report shows for those who ask after a restart.
func (c *Core) remember(h *host, now time.Time) {
	for _, s := range h.seen {
		c.rememberOne(h, s, now)
	}
	for uuid := range h.last {
		if h.seen[uuid] == nil {
			delete(h.last, uuid)
			c.book.domains[domainAt{h.Name, uuid}] = nil
		}
	}
}

func (c *Core) rememberOne(h *host, s *sight, now time.Time) {
	d := store.Domain{
		UUID: s.GetUuid(), Name: s.GetName(), Host: h.Name, State: stateName(s.Domain), StateReason: s.GetReason(),
		MemoryKiB: s.GetMemoryKib(), VCPUs: s.GetVcpus(), Persistent: s.GetPersistent(), Autostart: s.GetAutostart(), Lockable: s.GetLockable(),
	}
	if s.GetState() == agentv1.DomainState_DOMAIN_STATE_NONE {
		if _, ok := h.last[d.UUID]; ok {
			delete(h.last, d.UUID)
			c.book.domains[domainAt{h.Name, d.UUID}] = nil
		}
		return
	}
	old, ok := h.last[d.UUID]
	d.Seen = old.Seen
	if ok && old == d {
		return
	}
	d.Seen = now
	h.last[d.UUID] = d
	c.book.domains[domainAt{h.Name, d.UUID}] = &d
}

// stateName is the state as libvirt's tools name it.
func stateName(d *agentv1.Domain) string {
	switch d.GetState() {
	case agentv1.DomainState_DOMAIN_STATE_NONE:
		return "none"
	case agentv1.DomainState_DOMAIN_STATE_SHUTOFF:
		return "shut off"
	case agentv1.DomainState_DOMAIN_STATE_RUNNING:
		return "running"
	case agentv1.DomainState_DOMAIN_STATE_PAUSED:
		return "paused"
	case agentv1.DomainState_DOMAIN_STATE_POSTCOPY:
		return "post-copy"
	case agentv1.DomainState_DOMAIN_STATE_OTHER:
		return "other"
	}
	return "unknown"
}
