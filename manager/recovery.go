package manager

import (
	"fmt"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/store"
)

// unheard are the enrolled hosts that have not reported in this generation of
// the store, and that nobody has excused. While there is one the manager is in
// recovery: it writes no claim and gives no order about one.
func (c *Core) unheard() []string {
	var out []string
	for _, h := range c.sortedHosts() {
		if h.Revoked.IsZero() && h.Dead.IsZero() && h.Heard < c.id.Generation {
			out = append(out, h.Name)
		}
	}
	return out
}

// recovering says whether a recovery is under way.
func (c *Core) recovering() bool {
	for _, h := range c.hosts {
		if h.Revoked.IsZero() && h.Dead.IsZero() && h.Heard < c.id.Generation {
			return true
		}
	}
	return false
}

// notInRecovery refuses what must wait for the end of a recovery.
func (c *Core) notInRecovery() error {
	if waiting := c.unheard(); len(waiting) > 0 {
		return apierr.New(apierr.Unavailable, "the store was restored (generation %d) and waits for a complete report of %s: nothing is granted, moved or released before "+
			"(vireo hosts excuse HOST --reason WORDS, for one that will not report)", c.id.Generation, strings.Join(waiting, ", "))
	}
	return nil
}

// heard notes a host's complete report; the last one ends a recovery.
func (c *Core) heard(h *host, now time.Time) {
	if h.Heard >= c.id.Generation {
		return
	}
	h.Heard, h.dirty = c.id.Generation, true
	c.recovered(now)
}

// recovered looks whether a recovery has ended, and lets the work begin.
func (c *Core) recovered(now time.Time) {
	if c.recovering() {
		return
	}
	c.event(now, store.Event{Kind: "recovery.ended", Severity: store.Warning,
		Text: fmt.Sprintf("every host has been heard in generation %d: claims are made to agree with what runs", c.id.Generation)})
	c.log.Warn("recovery ended", "generation", c.id.Generation)
	for _, h := range c.sortedHosts() {
		c.reconcileClaims(h, now)
	}
}

// excuse lets a recovery go on without a host's report, on a person's word.
func (c *Core) excuse(now time.Time, name, who, reason string) error {
	h := c.hosts[name]
	switch {
	case reason == "":
		return apierr.New(apierr.Input, "excusing a host needs a reason: whoever comes next will ask")
	case h == nil || !h.Revoked.IsZero():
		return apierr.New(apierr.NotFound, "no host %s", name)
	case h.Heard >= c.id.Generation:
		return apierr.New(apierr.Policy, "nothing waits for %s: it has been heard in generation %d", name, c.id.Generation)
	}
	next := h.Host
	next.Heard = c.id.Generation
	err := c.update("excusing "+name, func(tx store.Tx) error {
		if err := tx.PutHost(next); err != nil {
			return err
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "host.excused", Severity: store.Warning, Host: name, Who: who, Text: reason})
		return err
	})
	if err != nil {
		return err
	}
	h.Host = next
	c.announce()
	c.recovered(now)
	return nil
}
