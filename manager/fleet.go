package manager

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/store"
)

// host is a host's record, and what is known of it while its agent speaks.
type host struct {
	store.Host
	session *Session // the one live conversation, nil when there is none
	why     string   // why it is not alive, "" while it is

	// Of the last complete report in this session.
	reported    time.Time // zero: none yet
	asked       uint64    // the highest ask that it answers
	libvirtd    bool
	libvirtdErr string
	takes       bool // its agent has journaled that it takes nothing new
	hookProblem string
	certificate time.Time       // when that of its session ends
	owes        map[string]bool // domains whose autostart was refused after the boot, to be made up for

	// seen is what the session's last report and the sightings after it show;
	// last is what was seen at all, as the store keeps it.
	seen map[string]*sight
	last map[string]store.Domain

	risk   riskState
	dirty  bool // the record differs from the store's
	stored time.Time
}

// sight is one domain as its agent last showed it.
type sight struct {
	*agentv1.Domain
	asked uint64 // the highest ask after which it was made
	at    time.Time
}

func newHost(h store.Host) *host {
	why := "its agent has not spoken since the manager started"
	if !h.Dead.IsZero() {
		why = deadWords(h)
	}
	return &host{Host: h, why: why,
		seen: map[string]*sight{}, last: map[string]store.Domain{}, risk: newRiskState()}
}

func (h *host) alive() bool { return h.why == "" }

// shown is the state that people see.
func (h *host) shown() store.HostState {
	if !h.alive() {
		return store.Unknown
	}
	return h.State
}

// word is what a host says about one domain now: nil when it says nothing (it
// is silent, or its libvirtd is), a domain of state NONE when its last complete
// report does not list it, or when a person vouches that the host is dead.
func (h *host) word(domain string) *sight {
	if h.dead() {
		return &sight{Domain: &agentv1.Domain{Uuid: domain, State: agentv1.DomainState_DOMAIN_STATE_NONE}}
	}
	if !h.alive() {
		return nil
	}
	if s := h.seen[domain]; s != nil {
		return s
	}
	return &sight{Domain: &agentv1.Domain{Uuid: domain, State: agentv1.DomainState_DOMAIN_STATE_NONE}, asked: h.asked, at: h.reported}
}

// active says whether a process is or may be there.
func active(d *agentv1.Domain) bool {
	switch d.GetState() {
	case agentv1.DomainState_DOMAIN_STATE_NONE, agentv1.DomainState_DOMAIN_STATE_SHUTOFF:
		return false
	}
	return true
}

// incoming says whether the process is a copy on its way here, not a guest.
func incoming(d *agentv1.Domain) bool {
	if d.GetRole() == agentv1.Role_ROLE_TARGET && d.GetAttempt() != "" && d.GetLiveAttempt() == d.GetAttempt() &&
		d.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED && d.GetPause() != agentv1.Pause_PAUSE_OWNER {
		return true
	}
	return d.GetJob().GetOperation() == "migration-in" ||
		d.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED && d.GetPause() == agentv1.Pause_PAUSE_GUARD
}

// age makes silent hosts unknown.
func (c *Core) age(now time.Time) {
	for _, h := range c.sortedHosts() {
		if h.session != nil && !h.reported.IsZero() && now.Sub(h.reported) > c.pol.UnknownAfter {
			c.silence(h, fmt.Sprintf("no complete report for more than %s", c.pol.UnknownAfter), now)
		}
	}
}

// silence makes a host unknown. Nothing else follows from it.
func (c *Core) silence(h *host, why string, now time.Time) {
	was := h.why
	h.why = why
	if was == "" {
		c.event(now, store.Event{Kind: "host.unknown", Severity: store.Warning, Host: h.Name, Text: why})
		c.log.Warn("host unknown", "host", h.Name, "reason", why)
		c.pace.decideSoon = true
	}
}

// speaks makes a host known again.
func (c *Core) speaks(h *host, now time.Time) {
	if h.why == "" {
		return
	}
	h.why = ""
	c.event(now, store.Event{Kind: "host.alive", Host: h.Name, Text: "reports completely, libvirtd answers"})
	c.log.Info("host alive", "host", h.Name)
	c.pace.decideSoon = true
}

func (c *Core) sortedHosts() []*host {
	return slices.SortedFunc(maps.Values(c.hosts), func(a, b *host) int { return cmp.Compare(a.Name, b.Name) })
}

// domainName is the best name known for a domain.
func (c *Core) domainName(uuid string) string {
	if cl := c.claims[uuid]; cl != nil && cl.Name != "" {
		return cl.Name
	}
	for _, h := range c.sortedHosts() {
		if d, ok := h.last[uuid]; ok && d.Name != "" {
			return d.Name
		}
	}
	return uuid
}
