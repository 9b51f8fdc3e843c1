package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
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
	c.rebuild(now)
	for _, h := range c.sortedHosts() {
		c.reconcileClaims(h, now)
	}
}

// knowsMore begins a new generation, because an agent knows what this store does
// not: the store was put back to an earlier state behind the manager's back. It
// does so once; a second time another manager is at work with the same agents,
// and two that outbid each other would obey nobody. False when nothing was begun.
func (c *Core) knowsMore(h *host, why string, seen uint64, now time.Time) bool {
	if c.book.began || c.fatal != nil {
		return false
	}
	id, err := c.st.NewGeneration(context.Background(), max(seen, c.id.Generation))
	switch {
	case errors.Is(err, store.ErrFenced):
		c.fatal = fmt.Errorf("%s: %w", why, err)
		return false
	case err != nil:
		c.log.Error("no new generation", "host", h.Name, "reason", why, "err", err)
		return false
	}
	c.book.began = true
	text := fmt.Sprintf("%s's agent knows more than the store (%s): generation %d begins, and nothing is granted, moved or released before every host has reported",
		h.Name, why, id.Generation)
	c.event(now, store.Event{Kind: "recovery.began", Severity: store.Alarm, Host: h.Name, Text: text})
	c.log.Error("the store is older than what was promised", "host", h.Name, "generation", id.Generation, "reason", why)
	c.id = id
	c.book.epoch += store.EpochLeap
	for _, o := range c.sortedHosts() { // orders of the old generation are void
		if o.session != nil {
			c.forgetOrders(o.session)
		}
	}
	for _, o := range c.sortedHosts() {
		if o.alive() {
			c.ask(o)
		}
	}
	return true
}

// fromTheFuture takes a report with an epoch that this store has never given
// out: a new generation, or the end of the conversation with somebody whose word
// cannot be judged.
func (c *Core) fromTheFuture(h *host, d *agentv1.Domain, now time.Time) bool {
	why := fmt.Sprintf("it knows epoch %d of %s, the store has given out %d", d.GetEpoch(), cmp.Or(d.GetName(), d.GetUuid()), c.book.epoch)
	if c.knowsMore(h, why, c.id.Generation, now) && d.GetEpoch() <= c.book.epoch {
		return true
	}
	if c.fatal == nil {
		c.log.Error("a report from the future", "host", h.Name, "reason", why)
		c.event(now, store.Event{Kind: "session.refused", Severity: store.Alarm, Host: h.Name, Who: "agent " + h.Name, Text: why})
		c.hangUp(h, why)
		c.silence(h, why, now)
	}
	return false
}

// future is the first domain of a report with an epoch that this store has never
// given out.
func (c *Core) future(ds []*agentv1.Domain) *agentv1.Domain {
	for _, d := range ds {
		if d.GetEpoch() > c.book.epoch {
			return d
		}
	}
	return nil
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
