package manager

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/store"
)

// claim is a claim, and what this manager knows of its telling.
type claim struct {
	store.Claim
	// fresh: written by this manager and not told yet; it may be told without
	// another write. Every other permission that an agent does not already hold
	// is a write with the next epoch, so that a confirmation which is still
	// under way can never be taken for a later one.
	fresh     bool
	confirmed *Session // the session in which its holder confirmed it
	promised  promise
}

// setClaim takes a committed claim into memory.
func (c *Core) setClaim(domain string, next store.Claim, gone bool) {
	c.book.epoch = max(c.book.epoch, next.Epoch)
	if gone {
		delete(c.claims, domain)
		return
	}
	c.claims[domain] = &claim{Claim: next, fresh: true}
}

// reconcileClaims makes what a host holds and what the claims say agree, for
// every domain that either of them knows.
func (c *Core) reconcileClaims(h *host, now time.Time) {
	if !h.alive() || c.fatal != nil || c.recovering() {
		return
	}
	c.adopt(h, now)
	for _, uuid := range slices.Sorted(maps.Keys(h.seen)) {
		c.reconcileClaim(h, uuid, now)
	}
	for _, uuid := range slices.Sorted(maps.Keys(c.claims)) {
		if cl := c.claims[uuid]; cl != nil && cl.Holder == h.Name && h.seen[uuid] == nil {
			c.reconcileClaim(h, uuid, now)
		}
	}
	c.copiesLeft(h, now)
}

// reconcileClaim does it for one domain. Moves have their own passes: while a
// row is open nothing is confirmed, released or adopted here.
func (c *Core) reconcileClaim(h *host, domain string, now time.Time) {
	s := h.word(domain)
	if s == nil || !h.alive() || c.recovering() || c.busyMove(domain) || s.GetState() == agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED {
		return
	}
	cl := c.claims[domain]
	runs := active(s.Domain) && !c.isCopy(s)
	switch {
	case cl == nil && runs:
		c.adoptThese(h, []*sight{s}, now)
	case cl == nil || cl.Holder != h.Name:
		if runs && cl != nil {
			c.elsewhere(h, cl, now)
		} else if !active(s.Domain) && holds(s.Domain) {
			c.release(h, domain, s, now)
		}
	case cl.Phase == store.Ambiguous:
		c.disambiguate(domain, now)
	case cl.Phase == store.Held && c.isCopy(s):
		// A restored store has forgotten the move that brought it: what it is nobody
		// knows, and a confirmation would make it a guest that its owner has paused.
	case cl.Phase == store.Held && !active(s.Domain) && !s.GetStartInProgress() && len(c.runsElsewhere(domain, h)) > 0:
		// A restored store has forgotten that it moved: the holder gives up, then what
		// runs is adopted.
		c.release(h, domain, s, now)
	case cl.Phase == store.Held && cl.Seen.IsZero():
		c.awaited(h, cl, s, now)
	case cl.Phase == store.Held && c.promised(cl, h, s, now):
	case cl.Phase == store.Held && !active(s.Domain) && h.owes[domain]:
		c.confirm(h, cl, s, now) // its autostart was refused after the boot: the agent makes up for it
	case cl.Phase == store.Held && !active(s.Domain) && !s.GetStartInProgress():
		c.release(h, domain, s, now)
	case cl.Phase == store.Held:
		c.confirm(h, cl, s, now)
	}
}

// awaited looks after a claim that a person has granted and that was never seen
// to run: it waits for the start, however long. Once it has run it is a claim
// like any other.
func (c *Core) awaited(h *host, cl *claim, s *sight, now time.Time) {
	if active(s.Domain) && !incoming(s.Domain) {
		next := cl.Claim
		next.Seen = now
		if !c.swap("noting that "+cl.Domain+" runs", cl, &next) {
			return
		}
		cl = c.claims[cl.Domain]
	}
	c.confirm(h, cl, s, now)
}

func (c *Core) busyMove(domain string) bool {
	m := c.moveOf(domain)
	return m != nil && m.row.Epoch != 0
}

// holds says whether an agent's journal believes in a permission.
func holds(d *agentv1.Domain) bool {
	return d.GetPhase() == agentv1.ClaimPhase_CLAIM_PHASE_HELD || d.GetPhase() == agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING
}

// adopt gives a claim to everything that runs on a host and has none.
func (c *Core) adopt(h *host, now time.Time) {
	var found []*sight
	for _, uuid := range slices.Sorted(maps.Keys(h.seen)) {
		s := h.seen[uuid]
		if c.claims[uuid] == nil && active(s.Domain) && !c.isCopy(s) && !c.busyMove(uuid) &&
			s.GetState() != agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED {
			found = append(found, s)
		}
	}
	c.adoptThese(h, found, now)
}

// adoptThese writes claims for what runs unclaimed: held by where it runs, or
// ambiguous when it was seen at work somewhere else too. What is found above a
// host's capacity is adopted all the same; it runs.
func (c *Core) adoptThese(h *host, found []*sight, now time.Time) {
	if len(found) == 0 {
		return
	}
	next := make([]store.Claim, len(found))
	others := make([][]string, len(found))
	for i, s := range found {
		next[i] = store.Claim{
			Domain: s.GetUuid(), Name: s.GetName(), Holder: h.Name, Phase: store.Held, Seen: now, Since: now,
			GrantedBy: "adoption", RiskAtGrant: h.Risk.P30d, MemoryKiB: s.GetMemoryKib(),
		}
		if others[i] = c.runsElsewhere(s.GetUuid(), h); len(others[i]) > 0 {
			next[i].Phase = store.Ambiguous
		}
	}
	err := c.update("adopting what runs on "+h.Name, func(tx store.Tx) error {
		for i := range next {
			epoch, err := tx.NextEpoch()
			if err != nil {
				return err
			}
			next[i].Epoch = epoch
			if err := tx.SwapClaim(0, next[i]); err != nil {
				return fmt.Errorf("domain %s: %w", next[i].Domain, err)
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for i, n := range next {
		c.setClaim(n.Domain, n, false)
		if n.Phase == store.Ambiguous {
			c.alarmAmbiguous(n, append(others[i], h.Name), now)
			continue
		}
		c.event(now, store.Event{Kind: "claim.adopted", Host: h.Name, Domain: n.Domain, Text: fmt.Sprintf("%s runs on %s: epoch %d", n.Name, h.Name, n.Epoch)})
		c.confirm(h, c.claims[n.Domain], found[i], now)
	}
	c.overfull(h, now)
	c.pace.decideSoon = true
}

// runsElsewhere are the hosts whose last word, however old, shows a guest at
// work under this UUID. Silence does not take it back.
func (c *Core) runsElsewhere(domain string, here *host) []string {
	var out []string
	for _, o := range c.sortedHosts() {
		if o != here && o.mayRun(domain) {
			out = append(out, o.Name)
		}
	}
	return out
}

// mayRun says whether a host was last seen to run a domain.
func (h *host) mayRun(domain string) bool {
	if h.dead() {
		return false
	}
	if s := h.seen[domain]; s != nil {
		return active(s.Domain) && !incoming(s.Domain)
	}
	if h.alive() {
		return false // its complete report does not list it
	}
	d, ok := h.last[domain]
	return ok && d.State != "shut off" && d.State != "none"
}

// elsewhere: a domain runs on a host that does not hold its claim.
func (c *Core) elsewhere(h *host, cl *claim, now time.Time) {
	if cl.Phase == store.Ambiguous {
		c.disambiguate(cl.Domain, now)
		return
	}
	holder := c.hosts[cl.Holder]
	if holder != nil && holder.alive() && !holder.mayRun(cl.Domain) {
		// It moved by hand: the holder gives up, then what runs is adopted.
		c.release(holder, cl.Domain, holder.word(cl.Domain), now)
		return
	}
	next := cl.Claim
	next.Phase, next.Seen, next.Since = store.Ambiguous, now, now
	if c.swap("making "+cl.Domain+" ambiguous", cl, &next) {
		c.alarmAmbiguous(next, []string{cl.Holder, h.Name}, now)
	}
}

func (c *Core) alarmAmbiguous(cl store.Claim, where []string, now time.Time) {
	text := fmt.Sprintf("%s was seen at work on %s; nothing is stopped, starts and moves of it are forbidden", cl.Name, strings.Join(where, " and "))
	if c.areClones(cl.Domain, where) {
		text += "; their disks have nothing in common: one is a clone that has kept its UUID, and needs one of its own"
	}
	c.event(now, store.Event{Kind: "claim.ambiguous", Severity: store.Alarm, Host: cl.Holder, Domain: cl.Domain, Text: text})
	c.log.Error("claim ambiguous", "domain", cl.Domain, "host", cl.Holder, "epoch", cl.Epoch, "reason", text)
}

// areClones says whether what runs under one UUID on two hosts are two guests,
// one cloned from the other with its UUID, and not two copies of one guest.
func (c *Core) areClones(domain string, where []string) bool {
	var seen []*agentv1.Domain
	for _, name := range where {
		if h := c.hosts[name]; h != nil && h.seen[domain] != nil {
			seen = append(seen, h.seen[domain].Domain)
		}
	}
	return len(seen) == 2 && clones(seen[0], seen[1])
}

// disambiguate ends an ambiguity when every enrolled host has spoken and one
// clear copy is left.
func (c *Core) disambiguate(domain string, now time.Time) {
	cl := c.claims[domain]
	var at *host
	for _, h := range c.hosts {
		if !h.Revoked.IsZero() || h.dead() {
			continue
		}
		if !h.alive() {
			return
		}
		if w := h.word(domain); active(w.Domain) {
			if at != nil || incoming(w.Domain) {
				return
			}
			at = h
		}
	}
	if at == nil { // it has ended everywhere
		c.endedEverywhere(cl, now)
		return
	}
	next := cl.Claim
	next.Phase, next.Holder, next.Attempt, next.Target = store.Held, at.Name, "", ""
	next.Seen, next.Since, next.GrantedBy = now, now, "one copy left"
	if c.swap("settling where "+domain+" is", cl, &next) {
		c.event(now, store.Event{Kind: "claim.cleared", Host: at.Name, Domain: domain, Text: fmt.Sprintf("only %s runs it now: epoch %d", at.Name, next.Epoch)})
	}
}

// endedEverywhere gives up an ambiguous claim whose copies have all ended: by
// the holder's agent, or at once when its holder is dead.
func (c *Core) endedEverywhere(cl *claim, now time.Time) {
	h := c.hosts[cl.Holder]
	if !h.dead() {
		c.release(h, cl.Domain, h.word(cl.Domain), now)
		return
	}
	if err := c.update("releasing "+cl.Domain, func(tx store.Tx) error { return tx.DeleteClaim(cl.Domain, cl.Epoch) }); err != nil {
		return
	}
	c.setClaim(cl.Domain, store.Claim{}, true)
	c.event(now, store.Event{Kind: "claim.released", Host: h.Name, Domain: cl.Domain, Text: fmt.Sprintf("%s runs nowhere: epoch %d is given up", cl.Name, cl.Epoch)})
}

// swap replaces a claim, with the next epoch.
func (c *Core) swap(what string, cl *claim, next *store.Claim) bool {
	err := c.update(what, func(tx store.Tx) error {
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		return tx.SwapClaim(cl.Epoch, *next)
	})
	if err != nil {
		return false
	}
	c.setClaim(cl.Domain, *next, false)
	return true
}

// confirm tells a holder that it holds. Its journal has the claim's epoch when
// it knows already.
func (c *Core) confirm(h *host, cl *claim, s *sight, now time.Time) {
	if s.GetEpoch() == cl.Epoch && s.GetPhase() == agentv1.ClaimPhase_CLAIM_PHASE_HELD {
		cl.fresh = false
		return
	}
	key := orderKey{host: h.Name, domain: cl.Domain, kind: orderConfirm}
	if o := c.orders.wanted[key]; o != nil && o.session == h.session && o.epoch == cl.Epoch {
		c.tell(h, key, cl.Epoch, confirmBody(), now) // under way; again when it is lost
		return
	}
	if !cl.fresh {
		next := cl.Claim
		if active(s.Domain) {
			next.Seen = now
		}
		if !c.swap("confirming "+cl.Domain, cl, &next) {
			return
		}
		cl = c.claims[cl.Domain]
	}
	if c.tell(h, key, cl.Epoch, confirmBody(), now) {
		cl.fresh = false
	}
}

func confirmBody() *agentv1.Order {
	return &agentv1.Order{Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}}
}

// release asks an agent to give a permission up: it answers when no process and
// no start is there, and from then on its journal refuses.
func (c *Core) release(h *host, domain string, s *sight, now time.Time) {
	if s == nil {
		return
	}
	epoch := s.GetEpoch()
	if cl := c.claims[domain]; cl != nil {
		epoch = cl.Epoch
	}
	c.tell(h, orderKey{host: h.Name, domain: domain, kind: orderRelease}, epoch,
		&agentv1.Order{Body: &agentv1.Order_Release{Release: &agentv1.Release{}}}, now)
}

// released takes an agent's word that it has given a domain up.
func (c *Core) released(h *host, o *order, now time.Time) {
	cl := c.claims[o.key.domain]
	if cl == nil || cl.Holder != h.Name || cl.Epoch != o.epoch || c.busyMove(o.key.domain) {
		return
	}
	if err := c.update("releasing "+cl.Domain, func(tx store.Tx) error { return tx.DeleteClaim(cl.Domain, cl.Epoch) }); err != nil {
		return
	}
	c.setClaim(cl.Domain, store.Claim{}, true)
	c.event(now, store.Event{Kind: "claim.released", Host: h.Name, Domain: cl.Domain, Text: fmt.Sprintf("%s does not run on %s any more: epoch %d is given up", cl.Name, h.Name, cl.Epoch)})
	for _, o := range c.sortedHosts() {
		if w := o.word(cl.Domain); w != nil && active(w.Domain) {
			c.reconcileClaim(o, cl.Domain, now)
		}
	}
}

// claimedKiB is what counts against each host: claimed, on its way, reserved,
// and planned by rows other than one.
func (c *Core) claimedKiB(without string) map[string]uint64 {
	sum := make(map[string]uint64, len(c.hosts))
	for _, cl := range c.claims {
		sum[cl.Holder] += cl.MemoryKiB
		if cl.Target != "" && cl.Target != cl.Holder {
			sum[cl.Target] += cl.MemoryKiB
		}
	}
	for _, o := range c.owed {
		if o.Kind == store.OwedReservation {
			sum[o.Host] += o.MemoryKiB
		}
	}
	for _, m := range c.moves {
		if m.row.ID != without && m.row.Epoch == 0 {
			sum[m.row.Target] += m.row.Before.MemoryKiB
		}
	}
	return sum
}

// overfull says so when a host has more than it may; it gets nothing more.
func (c *Core) overfull(h *host, now time.Time) {
	capacity, used := c.pol.Decide.CapacityKiB(h.Facts.MemoryKiB), c.claimedKiB("")[h.Name]
	if capacity > 0 && used > capacity {
		c.event(now, store.Event{Kind: "host.overfull", Severity: store.Warning, Host: h.Name,
			Text: fmt.Sprintf("%d KiB are claimed, it may have %d KiB: it takes nothing more", used, capacity)})
	}
}
