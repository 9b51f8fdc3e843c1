package manager

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// verb is what a person wants done with one claim.
type verb struct {
	domain      string // UUID
	who, reason string
	force       bool
}

// may refuses what no verb may do now.
func (c *Core) may(v verb) error {
	if v.reason == "" {
		return apierr.New(apierr.Input, "a claim is changed by hand only with a reason: whoever comes next will ask")
	}
	if c.book.full {
		return apierr.New(apierr.Unavailable, "the manager's disk is full: nothing is granted, moved or released until there is room")
	}
	return c.notInRecovery()
}

// standsAgainst says in words which claim is in the way.
func standsAgainst(cl store.Claim) string {
	name := cmp.Or(cl.Name, cl.Domain)
	switch cl.Phase {
	case store.Transferring:
		return fmt.Sprintf("%s is on its way from %s to %s (attempt %s, epoch %d, since %s)", name, cl.Holder, cl.Target, cl.Attempt, cl.Epoch, clock(cl.Since))
	case store.Ambiguous:
		return fmt.Sprintf("the claim of %s is ambiguous (epoch %d, since %s): it was seen at work on more than one host", name, cl.Epoch, clock(cl.Since))
	}
	return fmt.Sprintf("%s holds the claim of %s (epoch %d, since %s)", cl.Holder, name, cl.Epoch, clock(cl.Since))
}

// grant lets a host run a domain of which nobody holds the claim. The claim
// waits for the start, however long.
func (c *Core) grant(now time.Time, v verb, host string) (store.Claim, error) {
	if err := c.may(v); err != nil {
		return store.Claim{}, err
	}
	h := c.hosts[host]
	if h == nil || !h.Revoked.IsZero() {
		return store.Claim{}, apierr.New(apierr.NotFound, "no host %s", host)
	}
	if cl := c.claims[v.domain]; cl != nil {
		text := standsAgainst(cl.Claim)
		switch {
		case cl.Phase == store.Ambiguous:
			return store.Claim{}, apierr.New(apierr.Claim, "%s; vireo claims resolve settles it", text)
		case cl.Phase == store.Transferring:
			return store.Claim{}, apierr.New(apierr.Claim, "%s; vireo migrations abort %s ends that", text, cl.Attempt)
		case cl.Holder == host:
			return store.Claim{}, apierr.New(apierr.Claim, "%s already", text)
		}
		return store.Claim{}, apierr.New(apierr.Claim, "%s; vireo claims release takes it back first", text)
	}
	if where := c.runsElsewhere(v.domain, h); len(where) > 0 {
		return store.Claim{}, apierr.New(apierr.Claim, "%s was last seen at work on %s, which does not speak now; vireo hosts declare-dead, if nothing can run there any more",
			c.domainName(v.domain), strings.Join(where, " and "))
	}
	known := c.knownDomain(v.domain, host)
	if why := c.notHere(h, v.force); why != nil {
		return store.Claim{}, why.error(c, h, known, now)
	}
	next := store.Claim{
		Domain: v.domain, Name: known.Name, Holder: host, Phase: store.Held, Since: now, GrantedBy: "operator " + v.who, RiskAtGrant: h.Risk.P30d, MemoryKiB: known.MemoryKiB,
	}
	capacity := c.pol.Decide.CapacityKiB(h.Facts.MemoryKiB)
	err := c.update("granting "+v.domain, func(tx store.Tx) error {
		if err := room(tx, host, capacity, next.MemoryKiB); err != nil {
			return err
		}
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		if err := tx.SwapClaim(0, next); err != nil {
			return err
		}
		return c.audit(tx, now, v, "claim.granted", host, fmt.Sprintf("to %s, epoch %d: %s", host, epoch, v.reason))
	})
	if err != nil {
		return store.Claim{}, noRoom(err, "no flag changes that")
	}
	c.setClaim(v.domain, next, false)
	c.announce()
	c.reconcileClaim(h, v.domain, now)
	return next, nil
}

// audit keeps who did what to a claim, and why.
func (c *Core) audit(tx store.Tx, now time.Time, v verb, kind, host, text string) error {
	_, err := tx.AppendEvent(store.Event{At: now, Kind: kind, Severity: store.Warning, Host: host, Domain: v.domain, Who: v.who, Text: text})
	return err
}

// releaseByHand takes a claim back. It never stops a guest: what runs keeps its
// claim. Gone reports that the claim is gone already; else its holder's agent
// has been asked to give it up.
func (c *Core) releaseByHand(now time.Time, v verb) (left store.Claim, gone bool, err error) {
	if err := c.may(v); err != nil {
		return left, false, err
	}
	cl := c.claims[v.domain]
	switch {
	case cl == nil:
		return left, false, apierr.New(apierr.NotFound, "nobody holds a claim of %s", c.domainName(v.domain))
	case cl.Phase == store.Ambiguous:
		return left, false, apierr.New(apierr.Claim, "%s; vireo claims resolve settles it", standsAgainst(cl.Claim))
	case cl.Phase == store.Transferring:
		return left, false, apierr.New(apierr.Claim, "%s; vireo migrations abort %s ends that", standsAgainst(cl.Claim), cl.Attempt)
	}
	h := c.hosts[cl.Holder]
	s := h.word(v.domain)
	switch {
	case s == nil && !v.force:
		return left, false, apierr.New(apierr.Claim, "%s is unknown (%s): whether %s runs there cannot be seen, and silence releases nothing. If you know that it does not: --force; "+
			"if the whole host is dead: vireo hosts declare-dead %s", h.Name, h.why, c.domainName(v.domain), h.Name)
	case s != nil && active(s.Domain):
		return left, false, apierr.New(apierr.Claim, "%s is %s on %s: a release never stops a guest, and no flag makes it; shut it down there, or move it (vireo claims move)",
			c.domainName(v.domain), stateName(s.Domain), h.Name)
	case s != nil && s.GetStartInProgress():
		return left, false, apierr.New(apierr.Claim, "%s is being started on %s", c.domainName(v.domain), h.Name)
	case s == nil:
		return left, true, c.dropClaim(now, v, cl, "on "+v.who+"'s word that it does not run on the silent "+h.Name)
	}
	// Its holder's agent is asked as for any claim of a guest that has ended; one
	// that waited for its first start waits no longer.
	next := cl.Claim
	next.Seen = now
	err = c.update("releasing "+v.domain, func(tx store.Tx) error {
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		if err := tx.SwapClaim(cl.Epoch, next); err != nil {
			return err
		}
		return c.audit(tx, now, v, "claim.release", h.Name, h.Name+" is asked to give it up: "+v.reason)
	})
	if err != nil {
		return left, false, err
	}
	c.setClaim(v.domain, next, false)
	c.announce()
	c.reconcileClaim(h, v.domain, now)
	return next, false, nil
}

// dropClaim deletes a claim on a person's word.
func (c *Core) dropClaim(now time.Time, v verb, cl *claim, how string) error {
	err := c.update("releasing "+v.domain, func(tx store.Tx) error {
		if err := tx.DeleteClaim(cl.Domain, cl.Epoch); err != nil {
			return err
		}
		return c.audit(tx, now, v, "claim.released", cl.Holder, fmt.Sprintf("epoch %d, %s: %s", cl.Epoch, how, v.reason))
	})
	if err != nil {
		return err
	}
	c.setClaim(v.domain, store.Claim{}, true)
	c.announce()
	for _, o := range c.sortedHosts() {
		c.reconcileClaim(o, v.domain, now)
	}
	return nil
}

// Steps by which a row remembers what a person wanted of it.
const (
	targetChosen = "target chosen" // Detail: the host; no other will do
	targetForced = "target forced" // Detail: the host, whatever its risk
)

func stepDetail(r migration.Row, name string) string {
	for _, s := range r.Steps {
		if s.Name == name {
			return s.Detail
		}
	}
	return ""
}

// moveByHand plans the move of one running guest, with its claim.
func (c *Core) moveByHand(now time.Time, v verb, target string) (migration.Row, error) {
	if err := c.may(v); err != nil {
		return migration.Row{}, err
	}
	cl := c.claims[v.domain]
	name := c.domainName(v.domain)
	switch {
	case cl == nil:
		return migration.Row{}, apierr.New(apierr.NotFound, "nobody holds a claim of %s: it does not run", name)
	case cl.Phase == store.Ambiguous:
		return migration.Row{}, apierr.New(apierr.Claim, "%s; vireo claims resolve settles it", standsAgainst(cl.Claim))
	case cl.Phase == store.Transferring:
		return migration.Row{}, apierr.New(apierr.Claim, "%s already", standsAgainst(cl.Claim))
	case target == cl.Holder:
		return migration.Row{}, apierr.New(apierr.Claim, "%s already", standsAgainst(cl.Claim))
	case target != "" && (c.hosts[target] == nil || !c.hosts[target].Revoked.IsZero()):
		return migration.Row{}, apierr.New(apierr.NotFound, "no host %s", target)
	}
	if m := c.moveOf(v.domain); m != nil {
		return migration.Row{}, apierr.New(apierr.Claim, "%s is to be moved to %s already (%s, %s)", name, m.row.Target, m.row.ID, m.waiting)
	}
	p, refused := c.placeOne(now, v, target)
	if refused != nil {
		return migration.Row{}, refused
	}
	r := migration.Row{
		ID: c.newID("m"), Domain: v.domain, DomainName: cl.Name, Source: cl.Holder, Target: cmp.Or(target, p.Target),
		Reason: "asked by " + v.who + ": " + v.reason, State: migration.Planned, Planned: now, Switchover: c.pol.Switchover,
		Before: migration.Before{MemoryKiB: p.MemoryKiB},
	}
	r.Steps = []migration.Step{{At: now, Name: string(migration.Planned), Detail: r.Target + ", asked by " + v.who}}
	if target != "" {
		r.Steps = append(r.Steps, migration.Step{At: now, Name: targetChosen, Detail: target})
		if v.force {
			r.Steps = append(r.Steps, migration.Step{At: now, Name: targetForced, Detail: target})
		}
	}
	err := c.update("planning a move of "+v.domain, func(tx store.Tx) error {
		if err := tx.PutMigration(r); err != nil {
			return err
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "migration.planned", Severity: store.Warning, Host: r.Source, Domain: r.Domain, Migration: r.ID, Who: v.who,
			Text: fmt.Sprintf("%s → %s: %s", r.Source, r.Target, v.reason)})
		return err
	})
	if err != nil {
		return migration.Row{}, err
	}
	c.addMove(r)
	c.announce()
	c.fill(now)
	if m := c.moves[r.ID]; m != nil {
		return m.row, nil
	}
	return r, nil
}

// placeOne finds a target for one domain, or says why the wanted one is none.
func (c *Core) placeOne(now time.Time, v verb, target string) (decide.Placement, error) {
	s := c.snapshot(now, view{byHand: true, only: []string{v.domain}})
	if v.force && len(s.Domains) == 1 {
		s.Domains[0].Forced = target
	}
	ps := decide.Place(s, c.pol.Decide, []string{v.domain}, now)
	if len(ps) != 1 {
		return decide.Placement{}, apierr.New(apierr.Claim, "nobody holds a claim of %s", c.domainName(v.domain))
	}
	p := ps[0]
	switch {
	case p.Blocked:
		return p, apierr.New(apierr.Policy, "%s cannot be moved: %s", p.Name, p.Why)
	case target == "" && p.Target == "":
		return p, apierr.New(apierr.Policy, "%s goes nowhere: %s", p.Name, whyNot(p))
	case target == "" || p.Target == target || fits(p, target):
		return p, nil
	}
	i := slices.IndexFunc(p.Rejected, func(r decide.Rejection) bool { return r.Host == target })
	if i < 0 {
		return p, apierr.New(apierr.Policy, "%s is no target for %s", target, p.Name)
	}
	text := fmt.Sprintf("%s cannot take %s: %s", target, p.Name, p.Rejected[i].Reason)
	if p.Target != "" {
		text += "; better: " + p.Target
	}
	if p.Rejected[i].Policy {
		text += ". --force moves it there all the same"
	} else {
		text += ". --force does not change that"
	}
	return p, apierr.New(apierr.Policy, "%s", text)
}
