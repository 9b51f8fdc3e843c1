package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// ledger stands before the store: it follows what is committed, holds each
// commit against the rules and the truth, kills the manager between two of
// them, and fills the disk.
type ledger struct {
	store.Store
	s *Sim

	claims  map[string]store.Claim // as committed
	rows    map[string]migration.Row
	owed    map[string]store.Owed
	running map[string]string // by domain: the id of the row that has begun and not ended
	commits uint64
	epoch   uint64                   // the highest that was committed
	alarmed map[string]time.Duration // by migration: when it was last said that it waits
	left    map[string]time.Duration // by domain: when it was last said that a copy of it lies about

	// recovering: somebody was told that nothing is moved before every host has been heard.
	recovering bool

	dieIn    int // commits until the manager is killed; 0: never
	dieAfter bool
	full     bool
}

func newLedger(s *Sim) *ledger {
	return &ledger{s: s, claims: map[string]store.Claim{}, rows: map[string]migration.Row{}, owed: map[string]store.Owed{},
		alarmed: map[string]time.Duration{}, left: map[string]time.Duration{}, running: map[string]string{}}
}

// Update implements store.Store.
func (l *ledger) Update(ctx context.Context, f func(tx store.Tx) error) error {
	return l.update(f, func(f func(tx store.Tx) error) (bool, error) {
		err := l.Store.Update(ctx, f)
		return err == nil, err
	})
}

// update follows a transaction; commit runs it, and says whether it has happened.
func (l *ledger) update(f func(tx store.Tx) error, commit func(f func(tx store.Tx) error) (bool, error)) error {
	if l.full {
		return fmt.Errorf("no room: %w", store.ErrFull)
	}
	die := l.dieIn == 1
	if l.dieIn > 0 {
		l.dieIn--
	}
	if die && !l.dieAfter {
		panic(errCrash)
	}
	var t *entry
	happened, err := commit(func(tx store.Tx) error {
		t = &entry{Tx: tx}
		return f(t)
	})
	if happened {
		l.commits++
		for _, apply := range t.writes {
			apply(l)
		}
	}
	if die {
		panic(errCrash)
	}
	return err
}

// entry is one transaction, with what it writes.
type entry struct {
	store.Tx
	writes []func(l *ledger)
}

func (e *entry) write(f func(l *ledger)) { e.writes = append(e.writes, f) }

func (e *entry) SwapClaim(expected uint64, next store.Claim) error {
	err := e.Tx.SwapClaim(expected, next)
	if err == nil {
		e.write(func(l *ledger) { l.swapped(expected, next) })
	}
	return err
}

func (e *entry) DeleteClaim(domain string, epoch uint64) error {
	err := e.Tx.DeleteClaim(domain, epoch)
	if err == nil {
		e.write(func(l *ledger) { l.deleted(domain, epoch) })
	}
	return err
}

func (e *entry) PutMigration(r migration.Row) error {
	err := e.Tx.PutMigration(r)
	if err == nil {
		e.write(func(l *ledger) { l.moved(r) })
	}
	return err
}

func owedName(o store.Owed) string {
	return fmt.Sprint(o.Kind, " ", o.Host, " ", o.Domain, " ", o.Attempt)
}

func (e *entry) PutOwed(o store.Owed) error {
	err := e.Tx.PutOwed(o)
	if err == nil {
		e.write(func(l *ledger) { l.owed[owedName(o)] = o })
	}
	return err
}

func (e *entry) DeleteOwed(o store.Owed) error {
	err := e.Tx.DeleteOwed(o)
	if err == nil {
		e.write(func(l *ledger) { delete(l.owed, owedName(o)) })
	}
	return err
}

func (e *entry) AppendEvent(v store.Event) (uint64, error) {
	id, err := e.Tx.AppendEvent(v)
	if err == nil {
		e.write(func(l *ledger) { l.happened(v) })
	}
	return id, err
}

func (l *ledger) happened(v store.Event) {
	if v.Kind == "migration.waits" {
		if v.Text == "" || v.Severity != store.Alarm {
			l.s.fail("a move that waits is not named: %+v", v)
		}
		l.alarmed[v.Migration] = l.s.fleet.Now()
	}
	switch v.Kind {
	case "copy.left":
		l.left[v.Domain] = l.s.fleet.Now()
	case "recovery.began":
		l.recovering = true
	case "recovery.ended":
		l.recovering = false
	}
	if v.Severity != store.Info {
		l.s.say("manager: %s %s %s %s: %s", v.Severity, v.Kind, v.Host, nameOf(v.Domain), v.Text)
	}
}

// swapped: the domain's claim is another one now.
func (l *ledger) swapped(expected uint64, next store.Claim) {
	s := l.s
	old, had := l.claims[next.Domain]
	s.say("manager: claim of %s: %s %s→%s epoch %d, was %s %s epoch %d (%s)", nameOf(next.Domain), next.Phase, next.Holder, next.Target, next.Epoch,
		old.Phase, old.Holder, old.Epoch, next.GrantedBy)
	switch {
	case next.Epoch <= l.epoch:
		s.fail("epoch %d of %s is not greater than %d", next.Epoch, nameOf(next.Domain), l.epoch)
	case old.Epoch != expected:
		s.fail("the claim of %s was swapped over epoch %d, it had %d", nameOf(next.Domain), expected, old.Epoch)
	case had && next.GrantedBy == "adoption" && old.GrantedBy != "adoption":
		s.fail("%s is adopted by %s over the claim of %s (epoch %d)", nameOf(next.Domain), next.Holder, old.Holder, old.Epoch)
	case had && old.Holder != next.Holder && old.Phase == store.Held && next.Phase == store.Held:
		s.fail("the claim of %s went from %s to %s without a transfer", nameOf(next.Domain), old.Holder, next.Holder)
	}
	s.house.inRecovery("the claim of %s is written", nameOf(next.Domain))
	l.epoch = next.Epoch
	l.claims[next.Domain] = next
	if had && old.Holder != next.Holder {
		s.leaves(next.Domain, old.Holder, "its claim goes to "+next.Holder)
	}
	if next.Phase == store.Transferring && next.GrantedBy != "recovery" { // that one was on its way already
		l.fits(next)
	}
}

// deleted: nobody holds the domain any more.
func (l *ledger) deleted(domain string, epoch uint64) {
	old := l.claims[domain]
	l.s.say("manager: claim of %s: none, was %s %s epoch %d", nameOf(domain), old.Phase, old.Holder, old.Epoch)
	if old.Epoch != epoch {
		l.s.fail("the claim of %s was deleted at epoch %d, it had %d", nameOf(domain), epoch, old.Epoch)
	}
	l.s.house.inRecovery("the claim of %s is deleted", nameOf(domain))
	if st := l.s.byName[old.Holder]; st.core != nil {
		if d := st.files.State().Domains[domain]; d.Phase == journal.Held && d.Confirmed && d.Generation == l.s.house.generation && d.Epoch == epoch {
			l.s.fail("the claim of %s was deleted at epoch %d, and %s still holds it", nameOf(domain), epoch, old.Holder)
		}
	}
	delete(l.claims, domain)
	l.s.leaves(domain, old.Holder, "its claim is given up")
}

// fits: what vireo itself sends to a host must have room there.
func (l *ledger) fits(next store.Claim) {
	used, adopted := uint64(0), false
	for _, domain := range slices.Sorted(maps.Keys(l.claims)) {
		c := l.claims[domain]
		if c.Holder == next.Target || c.Target == next.Target {
			used += c.MemoryKiB
			adopted = adopted || c.GrantedBy == "adoption"
		}
	}
	for _, o := range l.owed {
		if o.Kind == store.OwedReservation && o.Host == next.Target {
			used += o.MemoryKiB
		}
	}
	if used > hostMemory {
		l.s.fail("%s gets %s: %d KiB are claimed there, it has %d", next.Target, nameOf(next.Domain), used, hostMemory)
	}
}

// moved: a row was written.
func (l *ledger) moved(r migration.Row) {
	old := l.rows[r.ID]
	if r.State.Ended() && (r.Outcome == "" || r.Ended.IsZero()) {
		l.s.fail("row %s is %s without a reason", r.ID, r.State)
	}
	if old.State.Ended() && old.State != r.State {
		l.s.fail("row %s was %s and is %s", r.ID, old.State, r.State)
	}
	if old.State != r.State {
		l.s.say("manager: row %s of %s %s→%s: %s %s", r.ID, nameOf(r.Domain), r.Source, r.Target, r.State, r.Outcome)
		l.s.count("row " + string(r.State))
		l.s.stepped(r)
	}
	l.rows[r.ID] = r
	switch {
	case r.State.Ended() && l.running[r.Domain] == r.ID:
		delete(l.running, r.Domain)
	case !r.State.Ended() && r.Epoch != 0:
		if other := l.running[r.Domain]; other != "" && other != r.ID {
			l.s.fail("%s has two moves, %s and %s", nameOf(r.Domain), other, r.ID)
		}
		l.running[r.Domain] = r.ID
	}
}

// open returns the row of a domain that has begun and not ended.
func (l *ledger) open(domain string) (migration.Row, bool) {
	id, is := l.running[domain]
	return l.rows[id], is
}
