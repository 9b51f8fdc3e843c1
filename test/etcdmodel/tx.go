package etcdmodel

import (
	"errors"
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// tx is one transaction on a clone of the state: store.Tx.
type tx struct{ reader }

var _ store.Tx = (*tx)(nil)

func newTx(s *state) *tx { return &tx{reader{state{head: s.head, tree: s.tree.Clone()}}} }

// put stores a record under its names, unless something is wrong with it.
func put[T any](t *tx, v T, invalid bool, k string) error {
	if invalid {
		return fmt.Errorf("%+v: %w", v, store.ErrInvalid)
	}
	v, err := detached(v)
	if err == nil {
		t.tree.ReplaceOrInsert(item{k, v})
	}
	return err
}

func (t *tx) delete(k kind, names ...string) { t.tree.Delete(item{key: key(k, names...)}) }

func (t *tx) PutHost(h store.Host) error {
	return put(t, h, h.Name == "" || h.State == "", key(hosts, h.Name))
}

func (t *tx) DeleteHost(name string) error {
	named, err := t.Claims(store.ClaimFilter{Host: name})
	if err != nil {
		return err
	}
	if len(named) > 0 {
		return fmt.Errorf("delete host %s: claim of %s: %w", name, named[0].Domain, store.ErrReferenced)
	}
	seen, err := t.Domains(store.DomainFilter{Host: name})
	for _, d := range seen {
		t.delete(domains, d.Host, d.UUID)
	}
	t.delete(hosts, name)
	return err
}

func (t *tx) NextEpoch() (uint64, error) {
	t.head.Epoch++
	return t.head.Epoch, nil
}

func (t *tx) SwapClaim(expected uint64, next store.Claim) error {
	invalid := next.Domain == "" || next.Holder == "" || next.Phase == "" || next.Epoch <= expected || next.Epoch > t.head.Epoch
	if err := t.at(next.Domain, expected); !invalid && err != nil {
		return err
	}
	for _, h := range []string{next.Holder, next.Target} {
		if !invalid && h != "" && !t.has(hosts, h) {
			return fmt.Errorf("claim of %s: host %q: %w", next.Domain, h, store.ErrNotFound)
		}
	}
	return put(t, next, invalid, key(claims, next.Domain))
}

// at says whether the domain's claim has this epoch; 0: whether it has none.
func (t *tx) at(domain string, epoch uint64) error {
	c, err := t.Claim(domain)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if c.Epoch != epoch {
		return fmt.Errorf("claim of %s is at epoch %d, not %d: %w", domain, c.Epoch, epoch, store.ErrStale)
	}
	return nil
}

func (t *tx) DeleteClaim(domain string, epoch uint64) error {
	if err := t.at(domain, epoch); err != nil {
		return err
	}
	if epoch == 0 {
		return fmt.Errorf("claim of %s: there is none: %w", domain, store.ErrStale)
	}
	t.delete(claims, domain)
	return nil
}

func (t *tx) PutMigration(m migration.Row) error {
	return put(t, m, m.ID == "" || m.Domain == "" || m.State == "" || m.State.Ended() && m.Outcome == "", key(rows, m.ID))
}

func owedKey(o store.Owed) []string { return []string{o.Host, o.Domain, string(o.Kind), o.Attempt} }

func (t *tx) PutOwed(o store.Owed) error {
	return put(t, o, o.Kind == "" || o.Host == "" || o.Domain == "", key(debts, owedKey(o)...))
}

func (t *tx) DeleteOwed(o store.Owed) error {
	t.delete(debts, owedKey(o)...)
	return nil
}

func (t *tx) PutDecision(d store.Decision) error {
	was, err := t.Decision(d.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if was.Evidence != nil {
		d.Evidence = was.Evidence
	}
	return put(t, d, d.ID == "" || d.Kind == "" || d.Status == "", key(decisions, d.ID))
}

func (t *tx) AppendEvent(e store.Event) (uint64, error) {
	e.ID = t.head.Event + 1
	if err := put(t, e, e.Kind == "" || e.Severity == "", eventKey(e.ID)); err != nil {
		return 0, err
	}
	t.head.Event = e.ID
	return e.ID, nil
}

// insertEvent stores an event under the id that it has already.
func (t *tx) insertEvent(e store.Event) error {
	t.head.Event = max(t.head.Event, e.ID)
	return put(t, e, e.Kind == "" || e.Severity == "", eventKey(e.ID))
}

func (t *tx) DeleteEvents(before, keep time.Time, limit int) (int, error) {
	old, err := all(&t.reader, events, func(e store.Event) bool {
		return e.At.Before(before) && (e.Who == "" || e.At.Before(keep))
	})
	old = old[:min(len(old), limit)]
	for _, e := range old {
		t.tree.Delete(item{key: eventKey(e.ID)})
	}
	return len(old), err
}

func (t *tx) PutSetting(s store.Setting) error { return put(t, s, s.Key == "", key(settings, s.Key)) }

func (t *tx) DeleteSetting(k string) error {
	t.delete(settings, k)
	return nil
}

func (t *tx) PutToken(k store.Token) error {
	return put(t, k, k.ID == "" || k.Kind == "" || len(k.Hash) == 0, key(tokens, k.ID))
}

func (t *tx) TakeToken(id string, hash []byte, now time.Time) (store.Token, error) {
	k, err := t.Token(id)
	if err == nil {
		k, err = k.Take(hash, now)
	}
	if err == nil {
		err = t.PutToken(k)
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("take token %s: %w", id, err)
	}
	return k, nil
}

func (t *tx) DeleteToken(id string) error {
	t.delete(tokens, id)
	return nil
}

func (t *tx) PutDomain(d store.Domain) error {
	invalid := d.Host == "" || d.UUID == ""
	if !invalid && !t.has(hosts, d.Host) {
		return fmt.Errorf("domain %s on host %s: %w", d.UUID, d.Host, store.ErrNotFound)
	}
	return put(t, d, invalid, key(domains, d.Host, d.UUID))
}

func (t *tx) DeleteDomain(host, uuid string) error {
	t.delete(domains, host, uuid)
	return nil
}
