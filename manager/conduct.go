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
			m.enter(now, act.State, act.Why)
			c.hurry(m, act, a, b, now)
			return
		case migration.Ask:
			m.enter(now, act.State, act.Why)
			c.askSide(m, act.To, now)
			return
		case migration.Tell:
			if act.Order == migration.Void && act.Line == 0 { // it cannot begin
				c.giveUp(m, act.Why, now)
			}
			m.enter(now, act.State, act.Why)
			c.tellSide(m, act.Order, act.To, now)
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
	m.waiting = act.Why
	if act.Line > 0 {
		m.waiting = fmt.Sprintf("%s (line %d)", act.Why, act.Line)
	}
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
		m.enter(now, act.State, act.Why)
		return false
	}
	row := m.row
	row.Steps = append(slices.Clone(m.row.Steps), migration.Step{At: now, Name: "claim " + string(act.End), Detail: fmt.Sprintf("%s (line %d)", act.Why, act.Line)})
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
