package manager

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// fill starts planned moves while there are slots, oldest first.
func (c *Core) fill(now time.Time) {
	perSource, perTarget, all := map[string]int{}, map[string]int{}, 0
	waiting := false
	for _, m := range c.moves {
		if m.busy(now) {
			perSource[m.row.Source]++
			perTarget[m.row.Target]++
			all++
		}
		waiting = waiting || m.row.State == migration.Planned
	}
	if !waiting || c.recovering() {
		return
	}
	for _, m := range c.sortedMoves() {
		if m.row.State != migration.Planned || c.moves[m.row.ID] != m {
			continue
		}
		if all >= c.pol.Cluster {
			m.waiting = fmt.Sprintf("waits for a slot: %s in the whole cluster now", plural(all, "move"))
			continue
		}
		if perSource[m.row.Source] >= c.pol.PerSource {
			m.waiting = fmt.Sprintf("waits for a slot: %s from %s now", plural(perSource[m.row.Source], "move"), m.row.Source)
			continue
		}
		if !c.retarget(m, now) {
			continue
		}
		if perTarget[m.row.Target] >= c.pol.PerTarget {
			m.waiting = fmt.Sprintf("waits for a slot: %s to %s now", plural(perTarget[m.row.Target], "move"), m.row.Target)
			continue
		}
		if c.begin(m, now) {
			perSource[m.row.Source]++
			perTarget[m.row.Target]++
			all++
			c.conduct(m, now)
		}
	}
}

// retarget checks that the planned target is still one, and chooses another if
// it is not. False when the row may not start now; it may have ended.
func (c *Core) retarget(m *move, now time.Time) bool {
	s := c.snapshot(now, view{without: m.row.ID, byHand: true, only: []string{m.row.Domain}})
	for i := range s.Domains {
		if s.Domains[i].UUID == m.row.Domain {
			s.Domains[i].NotBefore = time.Time{} // it was judged when the row was planned
			s.Domains[i].Forced = stepDetail(m.row, targetForced)
		}
	}
	if h, ok := s.HostNamed(m.row.Source); ok && !h.Alive {
		m.waiting = m.row.Source + " is unknown: " + h.AliveWhy
		return false
	}
	ps := decide.Place(s, c.pol.Decide, []string{m.row.Domain}, now)
	switch {
	case len(ps) == 0:
		c.finish(m, migration.RolledBack, "it has no claim any more", now)
		return false
	case ps[0].Target == "":
		c.finish(m, migration.RolledBack, whyNot(ps[0]), now)
		return false
	}
	if ps[0].Target != m.row.Target && !fits(ps[0], m.row.Target) {
		if stepDetail(m.row, targetChosen) != "" {
			c.finish(m, migration.RolledBack, m.row.Target+" cannot take it: "+reasonFor(ps[0], m.row.Target), now)
			return false
		}
		m.step(now, "another target", fmt.Sprintf("%s instead of %s: %s", ps[0].Target, m.row.Target, reasonFor(ps[0], m.row.Target)))
		m.row.Target = ps[0].Target
	}
	return true
}

// fits says whether a host was only not the best choice.
func fits(p decide.Placement, host string) bool {
	for _, r := range p.Rejected {
		if r.Host == host {
			return r.Fits
		}
	}
	return false
}

func reasonFor(p decide.Placement, host string) string {
	for _, r := range p.Rejected {
		if r.Host == host {
			return r.Reason
		}
	}
	return "it is not there"
}

// whyNot says why a domain goes nowhere, with every host's reason.
func whyNot(p decide.Placement) string {
	text := p.Why
	for i, r := range p.Rejected {
		text += map[bool]string{true: ": ", false: "; "}[i == 0] + r.Host + ": " + r.Reason
	}
	return text
}

// begin writes the row as claimed and the claim as transferring, in one
// transaction that checks the capacity of the target.
func (c *Core) begin(m *move, now time.Time) bool {
	cl := c.claims[m.row.Domain]
	source := c.hosts[m.row.Source]
	w := source.word(m.row.Domain)
	switch {
	case cl == nil || cl.Phase != store.Held || cl.Holder != m.row.Source:
		c.finish(m, migration.RolledBack, "its claim is not held by "+m.row.Source, now)
		return false
	case w == nil || !active(w.Domain):
		c.finish(m, migration.RolledBack, "it does not run on "+m.row.Source, now)
		return false
	}
	row := m.row
	row.State, row.Started, row.SourceBoot = migration.Claimed, now, source.BootID
	row.Switchover, row.Options = c.pol.Switchover, c.pol.Options
	row.Before = migration.Before{
		Paused:     w.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED,
		Persistent: w.GetPersistent(), Autostart: w.GetAutostart(), MemoryKiB: w.GetMemoryKib(), InactiveXML: w.GetDefinition(),
	}
	row.Options.Timeout = migration.TimeoutFor(row.Before.MemoryKiB, c.pol.TimeoutPerGiB)
	row.Steps = append(slices.Clone(row.Steps), migration.Step{At: now, Name: string(migration.Claimed), Detail: "claim transferring to " + row.Target})
	next := cl.Claim
	next.Phase, next.Attempt, next.Target, next.Seen, next.Since = store.Transferring, row.ID, row.Target, now, now
	next.GrantedBy, next.MemoryKiB = cmp.Or(row.Decision, "migration "+row.ID), row.Before.MemoryKiB
	next.RiskAtGrant = source.Risk.P30d
	if err := c.writeTransfer("beginning "+row.ID, cl.Epoch, &row, &next); err != nil {
		if m.waiting != err.Error() {
			c.log.Warn("a planned move waits", "domain", row.Domain, "migration", row.ID, "reason", err.Error())
		}
		m.waiting = err.Error()
		return false
	}
	m.row, m.dirty = row, false
	c.setClaim(row.Domain, next, false)
	c.event(now, store.Event{Kind: "migration.started", Host: row.Source, Domain: row.Domain, Migration: row.ID, Decision: row.Decision,
		Text: fmt.Sprintf("%s → %s: %s", row.Source, row.Target, row.Reason)})
	return true
}

// writeTransfer writes a row and its claim in transferring, in place of the claim
// of epoch was, in one transaction that refuses what the target has no room for.
// Both get the transaction's new epoch.
func (c *Core) writeTransfer(what string, was uint64, row *migration.Row, next *store.Claim) error {
	capacity := c.pol.Decide.CapacityKiB(c.hosts[row.Target].Facts.MemoryKiB)
	return c.update(what, func(tx store.Tx) error {
		if err := room(tx, row.Target, capacity, row.Before.MemoryKiB); err != nil {
			return err
		}
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		row.Epoch, next.Epoch = epoch, epoch
		if err := tx.SwapClaim(was, *next); err != nil {
			return err
		}
		return tx.PutMigration(*row)
	})
}

// room refuses what would take a host above what it has: what is claimed there
// or on its way there, and what is still reserved there.
func room(tx store.Reader, host string, capacity, more uint64) error {
	claims, err := tx.Claims(store.ClaimFilter{Host: host})
	if err != nil {
		return err
	}
	used := more
	for _, cl := range claims {
		used += cl.MemoryKiB
	}
	owed, err := tx.Owed(store.OwedFilter{Kind: store.OwedReservation, Host: host})
	if err != nil {
		return err
	}
	for _, o := range owed {
		used += o.MemoryKiB
	}
	if used > capacity {
		return fmt.Errorf("%w: %d KiB would be claimed on %s, it may have %d KiB", errRefused, used, host, capacity)
	}
	return nil
}
