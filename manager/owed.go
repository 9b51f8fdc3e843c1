package manager

import (
	"cmp"
	"maps"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// owedKey identifies a debt as the store does.
type owedKey struct {
	kind                  store.OwedKind
	host, domain, attempt string
}

func keyOf(o store.Owed) owedKey { return owedKey{o.Kind, o.Host, o.Domain, o.Attempt} }

// payOwed gives every host what it still has to do.
func (c *Core) payOwed(now time.Time) {
	for _, h := range c.sortedHosts() {
		c.payOwedTo(h, now)
	}
}

// payOwedTo gives one host what it still has to do of moves that have ended:
// first the void, because a definition is only settled once nothing can come.
func (c *Core) payOwedTo(h *host, now time.Time) {
	if !h.alive() || c.recovering() {
		return
	}
	for _, o := range c.sortedOwed() {
		key := keyOf(o)
		if _, still := c.owed[key]; !still || o.Host != h.Name {
			continue
		}
		switch o.Kind {
		case store.OwedVoid:
			s := h.word(o.Domain)
			voided := s.GetAttempt() == o.Attempt && s.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_VOID && !active(s.Domain)
			if voided || c.becameTheGuest(h, o, s) {
				c.settleOwed(key, now)
				continue
			}
			c.tell(h, orderKey{h.Name, o.Domain, o.Attempt, string(migration.Void)}, c.epochFor(o), voidBody(), now)
		case store.OwedSettle:
			if _, first := c.owed[owedKey{store.OwedVoid, o.Host, o.Domain, o.Attempt}]; first {
				continue
			}
			if body := c.settleOf(h, o); body != nil {
				c.tell(h, orderKey{h.Name, o.Domain, o.Attempt, string(migration.Settle)}, c.epochFor(o), body, now)
			}
		}
	}
}

// settleOf is the order that pays a settle, nil while it is open where the guest
// belongs. What the move left may have become the guest since: a definition goes
// with the claim that is there now, not with the one that there was when the move
// ended, and so does the autostart.
func (c *Core) settleOf(h *host, o store.Owed) *agentv1.Order {
	cl := c.claims[o.Domain]
	here := cl != nil && cl.Holder == h.Name
	switch {
	case cl != nil && cl.Phase != store.Held:
		return nil
	case !here && active(h.word(o.Domain).Domain):
		return nil // claimed elsewhere, or not adopted yet: the next report tells
	}
	return settleBody(o.Keep || here, o.Autostart && (here || cl == nil), "")
}

// becameTheGuest says whether the copy that a debt would end is the guest by now:
// somebody has let it run, no other copy is left, and the claim has followed it.
// There is nothing to void any more, and a running copy is never destroyed.
func (c *Core) becameTheGuest(h *host, o store.Owed, s *sight) bool {
	cl := c.claims[o.Domain]
	return cl != nil && cl.Phase == store.Held && cl.Holder == h.Name && s.GetLiveAttempt() == o.Attempt && active(s.Domain) &&
		s.GetEpoch() == cl.Epoch && s.GetPhase() == agentv1.ClaimPhase_CLAIM_PHASE_HELD
}

// sortedOwed returns the debts, oldest first.
func (c *Core) sortedOwed() []store.Owed {
	return slices.SortedFunc(maps.Values(c.owed), func(a, b store.Owed) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Kind, b.Kind))
	})
}

// epochFor is the epoch that an order for a debt carries.
func (c *Core) epochFor(o store.Owed) uint64 {
	if cl := c.claims[o.Domain]; cl != nil {
		return max(cl.Epoch, o.Epoch)
	}
	return o.Epoch
}

// paid takes the answer to an order that a debt asked for. A refused settle is
// settled too: the definition stood there before the move, and stays.
func (c *Core) paid(o *order, now time.Time) {
	done := o.outcome == agentv1.Outcome_OUTCOME_DONE
	refused := o.outcome == agentv1.Outcome_OUTCOME_REFUSED
	key := owedKey{host: o.key.host, domain: o.key.domain, attempt: o.key.attempt}
	switch migration.Order(o.key.kind) {
	case migration.Void:
		key.kind = store.OwedVoid
		if !done {
			return
		}
	case migration.Settle:
		key.kind = store.OwedSettle
		if !done && !refused {
			return
		}
	default:
		return
	}
	if _, ok := c.owed[key]; !ok {
		return
	}
	if refused {
		c.event(now, store.Event{Kind: "definition.kept", Severity: store.Warning, Host: o.key.host, Domain: o.key.domain, Migration: o.key.attempt, Text: o.reason})
	}
	c.settleOwed(key, now)
}

// settleOwed strikes a debt; with a void goes the memory that was kept for it.
func (c *Core) settleOwed(key owedKey, now time.Time) {
	keys := []owedKey{key}
	if key.kind == store.OwedVoid {
		reservation := key
		reservation.kind = store.OwedReservation
		keys = append(keys, reservation)
	}
	err := c.update("settling what "+key.host+" owed", func(tx store.Tx) error {
		for _, k := range keys {
			if o, ok := c.owed[k]; ok {
				if err := tx.DeleteOwed(o); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, k := range keys {
		delete(c.owed, k)
	}
	c.event(now, store.Event{Kind: "owed." + string(key.kind), Host: key.host, Domain: key.domain, Migration: key.attempt, Text: "done: nothing is left of the attempt there"})
	if h := c.hosts[key.host]; h != nil {
		c.payOwedTo(h, now)
	}
}
