package manager

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// resolveCopy is a person's choice on line 8 of the table of resting states: a
// complete paused copy whose source is gone, nobody knows how.
func (c *Core) resolveCopy(now time.Time, v verb, choice migration.Choice) (migration.Row, error) {
	if err := c.may(v); err != nil {
		return migration.Row{}, err
	}
	m := c.moveOf(v.domain)
	if m == nil || m.row.Epoch == 0 {
		return migration.Row{}, apierr.New(apierr.Policy, "%s has no open move: there is no copy to resume or to discard", c.domainName(v.domain))
	}
	a, b := c.sourceCopy(m), c.targetCopy(m)
	if act := migration.Next(m.row, a, b); act.Line != 8 {
		return migration.Row{}, apierr.New(apierr.Policy, "nothing is to be chosen for %s now: %s → %s, %s%s", c.domainName(v.domain), m.row.Source, m.row.Target, act.Why, c.howOn(m))
	}
	row := m.row
	row.Steps = append(slices.Clone(row.Steps), migration.Step{At: now, Name: string(choice), Detail: v.who + ": " + v.reason})
	err := c.update("resolving "+row.ID, func(tx store.Tx) error {
		if err := tx.PutMigration(row); err != nil {
			return err
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "claim.resolved", Severity: store.Warning, Host: row.Target, Domain: row.Domain, Migration: row.ID, Who: v.who,
			Text: string(choice) + " for the paused copy on " + row.Target + ": " + v.reason})
		return err
	})
	if err != nil {
		return migration.Row{}, err
	}
	m.row, m.dirty = row, false
	c.announce()
	c.conduct(m, now)
	return m.row, nil
}

// howOn says what would let a move go on that a silent host holds up.
func (c *Core) howOn(m *move) string {
	for _, name := range [...]string{m.row.Source, m.row.Target} {
		if h := c.hosts[name]; h != nil && !h.alive() && !h.dead() {
			return fmt.Sprintf("; %s is unknown (%s): if it is dead, vireo hosts declare-dead %s", name, h.why, name)
		}
	}
	return ""
}

// resolveHolder ends an ambiguity by a person's word: the domain runs on holder
// and nowhere else, or with holder "" it runs nowhere.
func (c *Core) resolveHolder(now time.Time, v verb, holder string) error {
	if err := c.may(v); err != nil {
		return err
	}
	cl, name := c.claims[v.domain], c.domainName(v.domain)
	switch {
	case cl == nil:
		return apierr.New(apierr.NotFound, "nobody holds a claim of %s: there is nothing to resolve", name)
	case cl.Phase != store.Ambiguous:
		return apierr.New(apierr.Claim, "%s: that is not ambiguous (vireo claims release or move)", standsAgainst(cl.Claim))
	case holder != "" && (c.hosts[holder] == nil || !c.hosts[holder].Revoked.IsZero()):
		return apierr.New(apierr.NotFound, "no host %s", holder)
	}
	if m := c.moveOf(v.domain); m != nil && m.row.Epoch != 0 {
		return apierr.New(apierr.Claim, "%s is still moving (%s, %s → %s: %s): it goes on by itself as soon as one copy is left%s",
			name, m.row.ID, m.row.Source, m.row.Target, m.waiting, c.howOn(m))
	}
	if err := c.contradicts(v, cl, holder); err != nil {
		return err
	}
	if holder == "" {
		return c.dropClaim(now, v, cl, "ambiguous, on "+v.who+"'s word that it runs nowhere")
	}
	next := cl.Claim
	next.Phase, next.Holder, next.Attempt, next.Target = store.Held, holder, "", ""
	next.Seen, next.Since, next.GrantedBy = now, now, "operator "+v.who
	err := c.update("resolving "+v.domain, func(tx store.Tx) error {
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		if err := tx.SwapClaim(cl.Epoch, next); err != nil {
			return err
		}
		return c.audit(tx, now, v, "claim.resolved", holder, fmt.Sprintf("held by %s, epoch %d: %s", holder, epoch, v.reason))
	})
	if err != nil {
		return err
	}
	c.setClaim(v.domain, next, false)
	c.announce()
	for _, o := range c.sortedHosts() {
		c.reconcileClaim(o, v.domain, now)
	}
	return nil
}

// contradicts refuses a word that what hosts show says is wrong; --force speaks
// for hosts that show nothing.
func (c *Core) contradicts(v verb, cl *claim, holder string) error {
	name := c.domainName(v.domain)
	var silent []string
	for _, h := range c.sortedHosts() {
		if !h.Revoked.IsZero() || h.dead() {
			continue
		}
		s := h.word(v.domain)
		switch {
		case s == nil && (h.Name == holder || h.Name == cl.Holder || h.Name == cl.Target || h.mayRun(v.domain)):
			silent = append(silent, h.Name+" ("+h.why+")")
		case s == nil:
		case active(s.Domain) && h.Name != holder:
			return apierr.New(apierr.Claim, "%s is %s on %s: vireo stops no copy; stop the wrong one there yourself (virsh destroy), then this settles by itself", name, stateName(s.Domain), h.Name)
		case !active(s.Domain) && h.Name == holder:
			return apierr.New(apierr.Claim, "%s has no process on %s: --released says that it runs nowhere", name, h.Name)
		}
	}
	if len(silent) > 0 && !v.force {
		return apierr.New(apierr.Claim, "whether %s runs there cannot be seen: %s. --force, if you know; vireo hosts declare-dead HOST, if the whole host is dead", name, strings.Join(silent, ", "))
	}
	return nil
}
