package manager

import (
	"cmp"
	"errors"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// rebuild makes a restored store's moves agree with what the agents know, before
// claims are looked at: a move that the store has forgotten may have left a guest
// paused, and one that only the store remembers is long over.
func (c *Core) rebuild(now time.Time) {
	for _, m := range c.sortedMoves() {
		if m.row.Epoch != 0 && c.forgotten(m) {
			c.endForgotten(m, now)
		}
	}
	for _, h := range c.sortedHosts() {
		for _, uuid := range sortedKeys(h.seen) {
			if s := h.seen[uuid]; h.alive() && s.GetRole() == agentv1.Role_ROLE_TARGET && s.GetAttempt() != "" && c.moveOf(uuid) == nil {
				c.reopen(h, s, now)
			}
		}
	}
}

// forgotten says whether both sides of a move speak and neither knows of it.
func (c *Core) forgotten(m *move) bool {
	for _, name := range [...]string{m.row.Source, m.row.Target} {
		h := c.hosts[name]
		if h == nil || !h.alive() {
			return false
		}
		if w := h.word(m.row.Domain); w.GetAttempt() == m.row.ID || w.GetLiveAttempt() == m.row.ID {
			return false
		}
	}
	return true
}

// endForgotten ends such a row. Its claim is the source's again, until what runs
// says otherwise.
func (c *Core) endForgotten(m *move, now time.Time) {
	row := m.row
	row.State, row.Ended = migration.RolledBack, now
	row.Outcome = "the store was restored, and neither side knows of this attempt any more"
	cl := c.claims[row.Domain]
	var next store.Claim
	mine := cl != nil && cl.Attempt == row.ID
	if mine {
		next = cl.Claim
		next.Phase, next.Attempt, next.Target, next.Since = store.Held, "", "", now
	}
	err := c.update("ending "+row.ID, func(tx store.Tx) error {
		if mine {
			epoch, err := tx.NextEpoch()
			if err != nil {
				return err
			}
			next.Epoch = epoch
			if err := tx.SwapClaim(cl.Epoch, next); err != nil {
				return err
			}
		}
		return tx.PutMigration(row)
	})
	if err != nil {
		return
	}
	m.row, m.dirty = row, false
	if mine {
		c.setClaim(row.Domain, next, false)
	}
	delete(c.moves, row.ID)
	delete(c.moving, row.Domain)
	c.event(now, store.Event{Kind: "migration.rolled_back", Severity: store.Warning, Host: row.Source, Domain: row.Domain, Migration: row.ID, Text: row.Outcome})
}

// reopen writes again the row and the claim of an attempt that a target knows
// and the store does not, unless both sides have done with it. Its source is
// whoever knows of the attempt too; if nobody does, whoever holds the claim, and
// then a person must say what became of the guest.
func (c *Core) reopen(target *host, t *sight, now time.Time) {
	source := c.sourceOf(t.GetAttempt(), t.GetUuid())
	cl := c.claims[t.GetUuid()]
	switch {
	case source == nil && closed(t.Domain):
		return
	case source != nil && closed(t.Domain) && closed(source.word(t.GetUuid()).Domain):
		return
	case active(t.Domain) && !incoming(t.Domain):
		return // it runs: it is adopted where it is
	case source != nil && slices.ContainsFunc(c.runsElsewhere(t.GetUuid(), target), func(on string) bool { return on != source.Name }):
		return // it runs on a third host: the attempt was over, and only its sides have not heard
	case source == nil && (cl == nil || c.hosts[cl.Holder] == nil || cl.Holder == target.Name || t.GetLiveAttempt() != t.GetAttempt()):
		return
	}
	boot := ""
	s := &sight{Domain: &agentv1.Domain{}}
	if source == nil {
		source = c.hosts[cl.Holder]
	} else {
		s, boot = source.word(t.GetUuid()), source.BootID
	}
	name := cmp.Or(t.GetName(), s.GetName(), t.GetUuid())
	memory := cmp.Or(s.GetMemoryKib(), t.GetMemoryKib())
	row := migration.Row{
		ID: t.GetAttempt(), Domain: t.GetUuid(), DomainName: name, Source: source.Name, Target: target.Name, Reason: "found after the store was restored",
		State: migration.Verifying, Switchover: migration.Guarded, SourceBoot: boot, Planned: now, Started: now,
		Before: migration.Before{
			Paused: s.GetPause() == agentv1.Pause_PAUSE_OWNER, Persistent: s.GetDefinition() != "" || s.GetPersistent() || t.GetPersistent(),
			Autostart: s.GetAutostart(), MemoryKiB: memory, InactiveXML: s.GetDefinition(),
		},
		Steps: []migration.Step{{At: now, Name: string(migration.Verifying), Detail: "found on " + target.Name + " after the store was restored"}},
	}
	next := store.Claim{
		Domain: row.Domain, Name: name, Holder: source.Name, Target: target.Name, Phase: store.Transferring, Attempt: row.ID, Seen: now, Since: now,
		GrantedBy: "recovery", RiskAtGrant: source.Risk.P30d, MemoryKiB: memory,
	}
	expected := uint64(0)
	if cl != nil {
		expected = cl.Epoch
	}
	err := c.update("reopening "+row.ID, func(tx store.Tx) error {
		if old, err := tx.Migration(row.ID); err == nil { // the store knows it, as ended
			row.Steps = append(old.Steps, row.Steps...)
			row.Before.InactiveXML = cmp.Or(row.Before.InactiveXML, old.Before.InactiveXML)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		row.Epoch, next.Epoch = epoch, epoch
		if err := tx.SwapClaim(expected, next); err != nil {
			return err
		}
		return tx.PutMigration(row)
	})
	if err != nil {
		return
	}
	c.addMove(row)
	c.setClaim(row.Domain, next, false)
	c.event(now, store.Event{Kind: "migration.reopened", Severity: store.Warning, Host: row.Source, Domain: row.Domain, Migration: row.ID,
		Text: row.Source + " → " + row.Target + ": the store had forgotten it"})
	m := c.moves[row.ID]
	c.see(m, now)
	c.conduct(m, now)
}

// sourceOf is the host that knows an attempt as its source.
func (c *Core) sourceOf(attempt, domain string) *host {
	for _, h := range c.sortedHosts() {
		if s := h.seen[domain]; h.alive() && s != nil && s.GetAttempt() == attempt && s.GetRole() == agentv1.Role_ROLE_SOURCE {
			return h
		}
	}
	return nil
}
