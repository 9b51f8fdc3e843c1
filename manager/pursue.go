package manager

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// pursue looks after decisions that act: what is to leave and has no row gets
// one, with backoff and not for ever; when nothing more can be done the decision
// is done, and says who stayed and why. A host that is still to be emptied is
// looked at again after that: what had no target may have one now.
func (c *Core) pursue(now time.Time) {
	c.pace.pursued = now
	for _, d := range c.sortedDecisions() {
		again := d.Status == store.Done && now.Sub(c.book.looked[d.ID]) >= c.pol.Retry.Backoff &&
			(d.Kind == store.DecideMoveDomains || d.Kind == store.DecideEvacuate && c.isStateOf(&d.Decision) && c.hosts[d.Host].State == store.Evacuating)
		if d.Status == store.Acting && (d.Kind == store.DecideEvacuate || d.Kind == store.DecideMoveDomains) || again {
			c.book.looked[d.ID] = now
			c.pursueOne(d, now)
		}
	}
}

func (c *Core) pursueOne(d *standing, now time.Time) {
	h := c.hosts[d.Host]
	if h == nil || !h.alive() {
		return // silence changes nothing
	}
	open := 0
	var left, due []string
	stay := map[string]string{} // domain → why, of those not worth a new row now
	waiting := false            // something will be tried again by itself
	for _, domain := range slices.Sorted(maps.Keys(c.claims)) {
		cl := c.claims[domain]
		if cl.Holder != d.Host || d.domains != nil && !slices.Contains(d.domains, cl.Domain) {
			continue
		}
		if m := c.moveOf(cl.Domain); m != nil {
			if m.row.State == migration.Unclear {
				stay[cl.Domain] = "unclear, a person must say where it is: " + m.waiting
				left = append(left, cl.Domain)
				continue
			}
			open++
			continue
		}
		if w := h.word(cl.Domain); !active(w.Domain) {
			continue // it was shut down; its claim is being released
		}
		left = append(left, cl.Domain)
		t := c.book.tries[cl.Domain]
		switch {
		case t == nil || t.decision != d.ID || t.failures == 0:
			due = append(due, cl.Domain)
		case t.gaveUp != "":
			stay[cl.Domain] = t.gaveUp
		case now.Sub(t.last) < c.pol.Retry.Backoff<<(t.failures-1):
			waiting = true
		default:
			due = append(due, cl.Domain)
		}
	}
	for _, m := range c.moves {
		if m.row.Source == d.Host && m.row.State == migration.Committing {
			open++ // the claim has left, the move has not ended
		}
	}
	var placements []decide.Placement
	if len(due) > 0 {
		s := c.snapshot(now, view{byHand: d.ResolvedBy != "" || d.Risk.Hard, only: due})
		placements = decide.Place(s, c.pol.Decide, due, now)
		if rows := c.rowsFor(d, placements, now); len(rows) > 0 {
			if !c.planRows(d, rows, now) {
				return
			}
			open += len(rows)
		}
		for _, p := range placements {
			if p.Target == "" {
				stay[p.Domain] = whyNot(p)
				if strings.HasPrefix(p.Why, "not before") {
					waiting = true
				}
			}
		}
	}
	c.book.stays[d.Host] = stay
	if open > 0 || waiting || d.Status != store.Acting {
		return
	}
	if len(left) > 0 && len(stay) == 0 {
		return
	}
	c.concluded(d, stay, now)
}

// planRows writes rows for a decision, and takes up again one that was done.
func (c *Core) planRows(d *standing, rows []migration.Row, now time.Time) bool {
	next := d.Decision
	next.Status = store.Acting
	err := c.update("planning moves away from "+d.Host, func(tx store.Tx) error {
		for _, r := range rows {
			if err := tx.PutMigration(r); err != nil {
				return err
			}
		}
		if next.Status != d.Status {
			return tx.PutDecision(next)
		}
		return nil
	})
	if err != nil {
		return false
	}
	d.Decision = next
	for _, r := range rows {
		c.addMove(r)
		c.event(now, store.Event{Kind: "migration.planned", Host: r.Source, Domain: r.Domain, Migration: r.ID, Decision: d.ID, Text: fmt.Sprintf("%s → %s, because: %s", r.Source, r.Target, r.Reason)})
	}
	c.fill(now)
	return true
}

// concluded ends a decision: all have left, or those that stay are named.
func (c *Core) concluded(d *standing, stay map[string]string, now time.Time) {
	next := d.Decision
	next.Status = store.Done
	severity := store.Info
	outcome := "all guests have left"
	if d.Kind == store.DecideMoveDomains {
		outcome = "its guests have left"
	}
	if len(stay) > 0 {
		severity = store.Alarm
		names := make([]string, 0, len(stay))
		for domain, why := range stay {
			names = append(names, c.domainName(domain)+": "+why)
		}
		slices.Sort(names)
		outcome = plural(len(stay), "guest") + " stayed: " + strings.Join(names, " | ")
	}
	if next.ResolvedBy == "" || next.Resolution == "" {
		next.Resolution = outcome
	} else {
		next.Resolution = strings.TrimSuffix(next.Resolution, "; "+outcome) + "; " + outcome
	}
	next.ResolvedAt = now
	c.putDecision(d, next, store.Event{Kind: "decision.done", Severity: severity, Host: d.Host, Decision: d.ID, Text: outcome}, now)
	c.log.Info("decision done", "host", d.Host, "decision", d.ID, "reason", outcome)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// drained looks for hosts that have become empty: a complete report, made after
// the agent promised to take nothing new, shows no process, no job, no start and
// nothing incoming.
func (c *Core) drained(now time.Time) {
	for _, h := range c.sortedHosts() {
		if h.State != store.Evacuating || !h.alive() || !h.takes || !c.empty(h) {
			continue
		}
		next := h.Host
		next.State, next.StateReason, next.StateSince = store.Drained, "nothing runs, starts or arrives there, by its complete report, and it takes nothing new", now
		e := store.Event{At: now, Kind: "host.drained", Severity: store.Info, Host: h.Name, Decision: h.StateDecision, Text: "the host is empty"}
		err := c.update("draining "+h.Name, func(tx store.Tx) error {
			if err := tx.PutHost(next); err != nil {
				return err
			}
			_, err := tx.AppendEvent(e)
			return err
		})
		if err != nil {
			continue
		}
		h.Host = next
		c.log.Info("host drained", "host", h.Name)
		c.pace.pursued = time.Time{}
	}
}

func (c *Core) empty(h *host) bool {
	for _, s := range h.seen {
		if active(s.Domain) || s.GetJob() != nil || s.GetStartInProgress() {
			return false
		}
	}
	for _, m := range c.moves {
		if m.row.Epoch != 0 && (m.row.Source == h.Name || m.row.Target == h.Name) {
			return false // also while only a definition is still to go
		}
	}
	return true
}
