package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// lonely is a paused copy of a move that nobody conducts: a store that was
// restored has forgotten it, or its agent's journal was lost.
type lonely struct {
	attempt string
	since   time.Time
	told    string // what it was said to be
}

// copiesLeft says, after a while and again when what it may be has changed, that a
// host keeps a paused copy for which no move is open. Nobody but a person ends that.
func (c *Core) copiesLeft(h *host, now time.Time) {
	for _, uuid := range sortedKeys(h.seen) {
		s, at := h.seen[uuid], domainAt{h.Name, uuid}
		attempt := cmp.Or(s.GetLiveAttempt(), s.GetAttempt())
		_, owed := c.owed[owedKey{store.OwedVoid, h.Name, uuid, attempt}]
		if !c.isCopy(s) || s.GetJob() != nil || owed || c.moveOf(uuid) != nil {
			delete(c.book.lonely, at)
			continue
		}
		l := c.book.lonely[at]
		if l == nil || l.attempt != attempt {
			l = &lonely{attempt: attempt, since: now}
			c.book.lonely[at] = l
		}
		worth := c.worthOf(h, uuid)
		if l.told == worth || now.Sub(l.since) < c.pol.Pace.Alarm {
			continue
		}
		l.told = worth
		text := fmt.Sprintf("%s keeps a paused copy of %s, of attempt %s, and no move of it is open: %s (vireo leftovers)",
			h.Name, c.domainName(uuid), cmp.Or(attempt, "?"), worth)
		c.event(now, store.Event{Kind: "copy.left", Severity: store.Alarm, Host: h.Name, Domain: uuid, Migration: attempt, Text: text})
		c.log.Error("paused copy left", "host", h.Name, "domain", uuid, "migration", attempt)
	}
}

// isCopy says whether a process is a copy that a move has brought, and not known
// to be the guest yet: one on its way, or one whose agent has lost its journal and
// which came with a move that the store does not know as done.
func (c *Core) isCopy(s *sight) bool {
	if incoming(s.Domain) {
		return true
	}
	id := s.GetLiveAttempt()
	if s.GetState() != agentv1.DomainState_DOMAIN_STATE_PAUSED || s.GetPause() != agentv1.Pause_PAUSE_UNSPECIFIED || id == "" || !s.GetComplete() {
		return false
	}
	done := false
	err := c.st.View(context.Background(), func(r store.Reader) error {
		row, err := r.Migration(id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		done = row.State == migration.Done
		return err
	})
	if err != nil {
		c.log.Warn("a copy's move is not read", "domain", s.GetUuid(), "migration", id, "error", err)
	}
	return !done
}

// worthOf says what a paused copy may be, from where its guest is.
func (c *Core) worthOf(h *host, uuid string) string {
	if cl := c.claims[uuid]; cl != nil && cl.Holder != h.Name {
		return "old memory, " + cl.Holder + " holds the guest's claim"
	}
	if len(c.runsElsewhere(uuid, h)) > 0 {
		return "old memory, the guest runs elsewhere"
	}
	return "the guest runs nowhere, it may be all that is left of it; a person chooses between virsh resume and virsh destroy"
}
