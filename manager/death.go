package manager

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// dead says whether a person vouches that nothing runs on a host.
func (h *host) dead() bool { return !h.Dead.IsZero() }

// declareDead is proof of death by a person's word: what the host held is
// released, what it owed is struck, and its moves go on without it. The word
// ends when its agent speaks again.
func (c *Core) declareDead(now time.Time, name, who, reason string) ([]store.Claim, error) {
	h := c.hosts[name]
	switch {
	case reason == "":
		return nil, apierr.New(apierr.Input, "declaring a host dead needs a reason: how is it known that nothing runs there?")
	case h == nil || !h.Revoked.IsZero():
		return nil, apierr.New(apierr.NotFound, "no host %s", name)
	case h.session != nil:
		return nil, apierr.New(apierr.Policy, "%s is not dead: its agent is connected (last report %s). Evacuate it, or release single claims", name, clock(h.LastReport))
	case h.dead():
		return nil, nil
	}
	recovering := c.recovering()
	if err := c.notInRecovery(); err != nil {
		// The dead one may be whom the recovery waits for; its claims are then
		// released when the others have spoken.
		if waiting := c.unheard(); len(waiting) > 1 || waiting[0] != name {
			return nil, err
		}
	}
	next := h.Host
	next.Dead = now
	next.Heard = c.id.Generation
	var released []store.Claim
	for _, id := range sortedKeys(c.claims) {
		if cl := c.claims[id]; cl.Holder == name && cl.Phase == store.Held && !c.busyMove(id) {
			released = append(released, cl.Claim)
		}
	}
	var owed []store.Owed
	for _, o := range c.sortedOwed() {
		if o.Host == name {
			owed = append(owed, o)
		}
	}
	err := c.update("declaring "+name+" dead", func(tx store.Tx) error {
		if err := tx.PutHost(next); err != nil {
			return err
		}
		if _, err := tx.AppendEvent(store.Event{At: now, Kind: "host.dead", Severity: store.Alarm, Host: name, Who: who,
			Text: fmt.Sprintf("%s (%s released)", reason, plural(len(released), "claim"))}); err != nil {
			return err
		}
		for _, cl := range released {
			if err := tx.DeleteClaim(cl.Domain, cl.Epoch); err != nil {
				return err
			}
			if _, err := tx.AppendEvent(store.Event{At: now, Kind: "claim.released", Severity: store.Warning, Host: name, Domain: cl.Domain, Who: who,
				Text: fmt.Sprintf("%s is dead: epoch %d is given up", name, cl.Epoch)}); err != nil {
				return err
			}
		}
		for _, o := range owed {
			if err := tx.DeleteOwed(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.Host = next
	h.why = deadWords(next)
	for _, cl := range released {
		c.setClaim(cl.Domain, store.Claim{}, true)
	}
	for _, o := range owed {
		delete(c.owed, keyOf(o))
	}
	c.announce()
	c.log.Warn("host declared dead", "host", name, "by", who, "reason", reason, "claims", len(released))
	for _, m := range c.sortedMoves() {
		if m.row.Source != name && m.row.Target != name {
			continue
		}
		if m.row.State == migration.Planned {
			c.giveUp(m, name+" is dead", now)
		}
		m.lastWord, m.fresh = sourceWord{}, 0
		c.see(m, now)
		c.conduct(m, now)
	}
	if recovering {
		c.recovered(now)
	}
	for _, o := range c.sortedHosts() {
		c.reconcileClaims(o, now)
	}
	c.pace.decideSoon = true
	return released, nil
}

func deadWords(h store.Host) string { return "declared dead at " + clock(h.Dead) }

// clock is a time for people.
func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// speaksAgain ends a person's word of a host's death. In the boot that was known
// the word was wrong: something may have run there all the time.
func (c *Core) speaksAgain(h *host, boot string, now time.Time) {
	if !h.dead() {
		return
	}
	e := store.Event{Kind: "host.undead", Severity: store.Warning, Host: h.Name, Text: "it was declared dead at " + clock(h.Dead) + " and speaks, after a boot"}
	if h.BootID == boot {
		e.Severity = store.Alarm
		e.Text = "it was declared dead at " + clock(h.Dead) + " and speaks, in the same boot: what was started elsewhere since may run twice"
		c.log.Error("a dead host speaks", "host", h.Name, "reason", e.Text)
	}
	h.Dead, h.dirty = time.Time{}, true
	c.event(now, e)
}
