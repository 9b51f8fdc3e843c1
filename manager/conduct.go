package manager

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// conduct carries one move on until it waits for somebody. The step is
// migration.Next's; here it is made durable and sent.
func (c *Core) conduct(m *move, now time.Time) {
	if m.row.State == migration.Planned && m.row.AbortReason == "" {
		return // fill starts it when a slot is free
	}
	c.watchHand(m, now)
	for range 8 { // a commit leads to the next step; more than a few in a row is a bug
		if ended(m.row) || c.fatal != nil || c.moves[m.row.ID] != m {
			return
		}
		if m.row.Epoch != 0 && c.recovering() {
			m.waiting = "the store was restored: nothing moves before every host has been heard"
			return
		}
		a, b := c.sourceCopy(m), c.targetCopy(m)
		act := migration.Next(m.row, a, b)
		c.mark(m, act, paused(m, a, b), now)
		switch act.Do {
		case migration.Wait:
			m.enter(now, act)
			c.hurry(m, act, a, b, now)
			return
		case migration.Ask:
			m.enter(now, act)
			c.askSide(m, act.To, now)
			return
		case migration.Tell:
			if act.Order == migration.Void && act.Line == 0 { // it cannot begin
				c.giveUp(m, act.Why, now)
			}
			m.enter(now, act)
			c.tellSide(m, act, now)
			return
		case migration.Commit:
			if !c.commit(m, act, now) {
				return
			}
		case migration.Finish:
			c.finish(m, act.State, act.Why, now)
			return
		}
	}
	c.log.Error("a move does not come to rest", "domain", m.row.Domain, "migration", m.row.ID, "state", string(m.row.State))
}

// mark notes what a move waits for, and since when somebody should know.
func (c *Core) mark(m *move, act migration.Action, paused bool, now time.Time) {
	m.waiting = act.Reason()
	if m.failing != "" {
		m.waiting += "; " + m.failing
	}
	switch {
	case !act.Alarm && !paused && m.failing == "":
		m.stuck.since = time.Time{}
	case m.stuck.since.IsZero():
		m.stuck.since = now
	}
}

// hurry asks for the words that the end of a move waits for, instead of waiting
// for the next report.
func (c *Core) hurry(m *move, act migration.Action, a, b migration.Copy, now time.Time) {
	if m.row.State != migration.Committing {
		return
	}
	if !b.Moving || !b.Settled {
		c.look(m, c.hosts[m.row.Target], now)
	}
	if !a.Settled || a.Call == migration.CallOut {
		c.look(m, c.hosts[m.row.Source], now)
	}
}

// askSide wants a picture that is newer than the other side's last word.
func (c *Core) askSide(m *move, to migration.Side, now time.Time) {
	name := m.row.Target
	if to == migration.Source {
		name = m.row.Source
	}
	h := c.hosts[name]
	if h == nil || h.session == nil {
		return
	}
	if to == migration.Source {
		c.look(m, h, now)
		return
	}
	if m.fresh != 0 && m.freshIn == h.session && now.Sub(m.freshAt) < c.pol.Pace.Answer {
		return // under way
	}
	m.fresh, m.freshIn, m.freshAt = c.ask(h), h.session, now
}

// commit writes how a transfer ends: claim, row and what is owed, in one
// transaction. False when nothing was written.
func (c *Core) commit(m *move, act migration.Action, now time.Time) bool {
	cl := c.claims[m.row.Domain]
	if cl == nil || cl.Attempt != m.row.ID && !(m.row.State == migration.Committing && cl.Holder == m.row.Target) {
		c.finish(m, migration.Failed, "its claim is no longer this attempt's", now)
		return false
	}
	if act.End == migration.Ambiguous && cl.Phase == store.Ambiguous {
		m.enter(now, act)
		return false
	}
	row := m.row
	row.Steps = append(slices.Clone(m.row.Steps), migration.Step{At: now, Name: "claim " + string(act.End), Detail: act.Reason()})
	row.State = act.State
	next := cl.Claim
	next.Seen, next.Since, next.GrantedBy = now, now, "migration "+row.ID
	next.Phase, next.Attempt, next.Target = store.Held, "", ""
	switch act.End {
	case migration.HeldByTarget:
		// The row stays open until definition and autostart are in order.
		next.Holder, next.RiskAtGrant = row.Target, c.hosts[row.Target].Risk.P30d
	case migration.HeldBySource:
		// An arrival that was committed and then became ambiguous had the target as its holder.
		next.Holder, next.RiskAtGrant = row.Source, c.hosts[row.Source].Risk.P30d
	case migration.Ambiguous:
		next.Phase, next.Attempt, next.Target = store.Ambiguous, row.ID, row.Target
	}
	var owed []store.Owed
	kept := false
	if row.State.Ended() {
		row.Ended, row.Outcome = now, m.outcomeOf(row.State, c.sourceWord(m), act.Why)
		kept = (act.End == migration.Released || act.End == migration.HeldBySource) && c.onlyDefinition(m)
		owed = c.owedAfter(m, act, kept, now)
	}
	err := c.update("committing "+row.ID, func(tx store.Tx) error {
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		if act.End == migration.Released {
			err = tx.DeleteClaim(row.Domain, cl.Epoch)
		} else {
			err = tx.SwapClaim(cl.Epoch, next)
		}
		if err != nil {
			return err
		}
		for i := range owed {
			owed[i].Epoch = epoch
			if err := tx.PutOwed(owed[i]); err != nil {
				return err
			}
		}
		return tx.PutMigration(row)
	})
	if err != nil {
		return false
	}
	m.row, m.dirty = row, false
	for _, o := range owed {
		c.owed[keyOf(o)] = o
	}
	c.setClaim(row.Domain, next, act.End == migration.Released)
	severity := store.Info
	if act.Alarm {
		severity = store.Alarm
	}
	c.event(now, store.Event{Kind: "claim." + map[migration.End]string{
		migration.HeldByTarget: "moved", migration.HeldBySource: "returned", migration.Released: "released", migration.Ambiguous: "ambiguous",
	}[act.End], Severity: severity, Host: next.Holder, Domain: row.Domain, Migration: row.ID, Text: fmt.Sprintf("epoch %d: %s", next.Epoch, act.Why)})
	if kept {
		c.event(now, store.Event{Kind: "definition.kept", Severity: store.Warning, Host: row.Target, Domain: row.Domain, Migration: row.ID,
			Text: fmt.Sprintf("the guest is not on %s, and its definition there may be the only one: it stays", row.Target)})
	}
	if row.State.Ended() {
		c.close(m, now)
	}
	return true
}

// sourceWord is what the source says of the domain now, nil when it is silent.
func (c *Core) sourceWord(m *move) *agentv1.Domain { return c.wordOf(m.row.Source, m.row.Domain) }

// targetWord is the same of the target.
func (c *Core) targetWord(m *move) *agentv1.Domain { return c.wordOf(m.row.Target, m.row.Domain) }

func (c *Core) wordOf(host, domain string) *agentv1.Domain {
	if h := c.hosts[host]; h != nil {
		if s := h.word(domain); s != nil {
			return s.Domain
		}
	}
	return nil
}

// onlyDefinition says whether a guest that has not arrived may be defined nowhere
// but on the target: the source's goes with a call that succeeds, whatever becomes
// of the copy afterwards, and also under a guest that somebody starts there again
// before the call returns.
func (c *Core) onlyDefinition(m *move) bool {
	s := c.sourceWord(m)
	return m.row.Before.Persistent && c.targetWord(m).GetPersistent() &&
		(!s.GetPersistent() || c.sourceCopy(m).Gone == migration.GoneByMove)
}

// owedAfter is what the target still has to do when the guest did not arrive: to
// confirm that the attempt is void there, and to drop what it left defined, or to
// keep it.
func (c *Core) owedAfter(m *move, act migration.Action, keep bool, now time.Time) []store.Owed {
	var out []store.Owed
	add := func(kind store.OwedKind) {
		out = append(out, store.Owed{Kind: kind, Host: m.row.Target, Domain: m.row.Domain, Attempt: m.row.ID, Since: now, MemoryKiB: m.row.Before.MemoryKiB})
	}
	if act.Owed {
		add(store.OwedVoid)
		add(store.OwedReservation)
	}
	if w := c.targetWord(m); w == nil || w.GetPersistent() {
		add(store.OwedSettle)
		out[len(out)-1].Keep, out[len(out)-1].Autostart = keep, m.row.Before.Autostart
	}
	return out
}

// finish ends a row whose claim needs no more change.
func (c *Core) finish(m *move, state migration.State, why string, now time.Time) {
	row := m.row
	row.State, row.Ended, row.Outcome = state, now, m.outcomeOf(state, c.sourceWord(m), why)
	row.Steps = append(slices.Clone(row.Steps), migration.Step{At: now, Name: string(state), Detail: row.Outcome})
	err := c.update("finishing "+row.ID, func(tx store.Tx) error { return tx.PutMigration(row) })
	if err != nil {
		return // the next pass tries again
	}
	m.row, m.dirty = row, false
	c.close(m, now)
}

// millis is a downtime in words.
func millis(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// close forgets an ended row and lets what waited for it go on.
func (c *Core) close(m *move, now time.Time) {
	delete(c.moves, m.row.ID)
	delete(c.moving, m.row.Domain)
	c.forgetOrdersOf(m.row.ID)
	c.tally(m.row)
	kind, severity := "migration.done", store.Info
	text := fmt.Sprintf("%s → %s in %s", m.row.Source, m.row.Target, m.row.Ended.Sub(cmp.Or(m.row.Started, m.row.Planned)).Round(time.Millisecond))
	if d := m.row.Downtime; d.Total > 0 {
		text += fmt.Sprintf(", down for %s (switch %s, source's exit %s, hand-over %s)", millis(d.Total), millis(d.Switch), millis(d.SourceExit), millis(d.Handover))
	}
	if m.row.State != migration.Done {
		kind, severity = "migration."+string(m.row.State), store.Warning
		text = fmt.Sprintf("%s → %s: %s", m.row.Source, m.row.Target, m.row.Outcome)
	}
	c.event(now, store.Event{Kind: kind, Severity: severity, Host: m.row.Source, Domain: m.row.Domain, Migration: m.row.ID, Decision: m.row.Decision, Text: text})
	c.log.Info("move ended", "domain", m.row.Domain, "migration", m.row.ID, "state", string(m.row.State), "reason", m.row.Outcome)
	c.noteEnd(m.row, now)
	for _, name := range [...]string{m.row.Source, m.row.Target} {
		if h := c.hosts[name]; h != nil {
			c.reconcileClaim(h, m.row.Domain, now)
			c.payOwedTo(h, now)
		}
	}
	c.pace.pursued = time.Time{}
	c.fill(now)
	c.drained(now)
}
