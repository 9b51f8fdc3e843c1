package etcd

import (
	"errors"
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// tx is one transaction on a clone of the state: store.Tx. Nothing leaves it
// before it is committed.
type tx struct {
	reader
	changes map[string][]byte // by key; nil deletes
}

var _ store.Tx = (*tx)(nil)

func newTx(s *state, evidence func(id string, parts int) ([]byte, error)) *tx {
	t := &tx{reader: reader{head: s.head, tree: s.tree.Clone()}, changes: map[string][]byte{}}
	t.evidence = func(id string, parts int) ([]byte, error) {
		if _, ok := t.changes[evidencePart(id, 0)]; !ok {
			return evidence(id, parts)
		}
		all := make([][]byte, parts)
		for i := range all {
			all[i] = t.changes[evidencePart(id, i)]
		}
		return unpacked(all)
	}
	return t
}

func (t *tx) put(key string, v any) error {
	b, err := encode(v)
	if err == nil && len(b) > maxValue {
		err = fmt.Errorf("%s takes %d bytes, more than the %d that fit into one record: %w", key, len(b), maxValue, store.ErrInvalid)
	}
	if err != nil {
		return err
	}
	t.set(key, b)
	return nil
}

func (t *tx) set(key string, value []byte) {
	t.changes[key] = value
	apply(t.tree, []change{{key, value}})
}

func (t *tx) delete(key string) {
	if _, ok := t.tree.Get(item{key: key}); ok || !kept(key) {
		t.set(key, nil)
	}
}

func (t *tx) has(key string) bool { return t.tree.Has(item{key: key}) }

func (t *tx) PutHost(h store.Host) error {
	if h.Name == "" || h.State == "" {
		return fmt.Errorf("host %q in state %q: %w", h.Name, h.State, store.ErrInvalid)
	}
	if err := t.put(key(hostKeys, h.Name), storedHost(h)); err != nil {
		return fmt.Errorf("put host %s: %w", h.Name, err)
	}
	return nil
}

func (t *tx) DeleteHost(name string) error {
	claims, err := t.Claims(store.ClaimFilter{Host: name})
	if err == nil && len(claims) > 0 {
		err = fmt.Errorf("claim of %s: %w", claims[0].Domain, store.ErrReferenced)
	}
	if err != nil {
		return fmt.Errorf("delete host %s: %w", name, err)
	}
	var seen []string
	each(t.tree, key(domainKeys, name)+"/", func(i item) bool { seen = append(seen, i.key); return true })
	for _, k := range append(seen, key(hostKeys, name)) {
		t.delete(k)
	}
	return nil
}

func (t *tx) NextEpoch() (uint64, error) {
	t.head.Epoch++
	return t.head.Epoch, nil
}

func (t *tx) SwapClaim(expected uint64, next store.Claim) error {
	if err := t.swapClaim(expected, next); err != nil {
		return fmt.Errorf("claim of %s from epoch %d to %d: %w", next.Domain, expected, next.Epoch, err)
	}
	return nil
}

func (t *tx) swapClaim(expected uint64, next store.Claim) error {
	if next.Domain == "" || next.Holder == "" || next.Phase == "" {
		return fmt.Errorf("domain %q, holder %q, phase %q: %w", next.Domain, next.Holder, next.Phase, store.ErrInvalid)
	}
	if next.Epoch <= expected || next.Epoch > t.head.Epoch {
		return fmt.Errorf("the last epoch given out is %d: %w", t.head.Epoch, store.ErrInvalid)
	}
	if err := t.at(next.Domain, expected); err != nil {
		return err
	}
	for _, h := range []string{next.Holder, next.Target} {
		if h != "" && !t.has(key(hostKeys, h)) {
			return fmt.Errorf("host %q: %w", h, store.ErrNotFound)
		}
	}
	return t.put(key(claimKeys, next.Domain), storedClaim(next))
}

// at says whether the domain's claim has this epoch; 0: whether it has none.
func (t *tx) at(domain string, epoch uint64) error {
	c, err := t.Claim(domain)
	switch {
	case errors.Is(err, store.ErrNotFound) && epoch == 0:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no claim: %w", store.ErrStale)
	case err != nil:
		return err
	case c.Epoch != epoch:
		return fmt.Errorf("it is at epoch %d: %w", c.Epoch, store.ErrStale)
	}
	return nil
}

func (t *tx) DeleteClaim(domain string, epoch uint64) error {
	err := t.at(domain, epoch)
	if err == nil && epoch == 0 {
		err = fmt.Errorf("there is no claim: %w", store.ErrStale)
	}
	if err != nil {
		return fmt.Errorf("delete claim of %s at epoch %d: %w", domain, epoch, err)
	}
	t.delete(key(claimKeys, domain))
	return nil
}

func (t *tx) PutMigration(m migration.Row) error {
	if m.ID == "" || m.Domain == "" || m.State == "" {
		return fmt.Errorf("migration %q of domain %q in state %q: %w", m.ID, m.Domain, m.State, store.ErrInvalid)
	}
	if m.State.Ended() && m.Outcome == "" {
		return fmt.Errorf("migration %s ended in state %s without an outcome: %w", m.ID, m.State, store.ErrInvalid)
	}
	if err := t.put(key(rowKeys, m.ID), toStoredRow(m)); err != nil {
		return fmt.Errorf("put migration %s: %w", m.ID, err)
	}
	return nil
}

func owedID(o store.Owed) string { return key(owedKeys, o.Host, o.Domain, string(o.Kind), o.Attempt) }

func (t *tx) PutOwed(o store.Owed) error {
	if o.Kind == "" || o.Host == "" || o.Domain == "" {
		return fmt.Errorf("owed %q by host %q for domain %q: %w", o.Kind, o.Host, o.Domain, store.ErrInvalid)
	}
	if err := t.put(owedID(o), storedOwed(o)); err != nil {
		return fmt.Errorf("put owed %s by %s for %s: %w", o.Kind, o.Host, o.Domain, err)
	}
	return nil
}

func (t *tx) DeleteOwed(o store.Owed) error {
	t.delete(owedID(o))
	return nil
}

func (t *tx) PutDecision(d store.Decision) error {
	if d.ID == "" || d.Kind == "" || d.Status == "" {
		return fmt.Errorf("decision %q of kind %q in status %q: %w", d.ID, d.Kind, d.Status, store.ErrInvalid)
	}
	if err := t.putDecision(d); err != nil {
		return fmt.Errorf("put decision %s: %w", d.ID, err)
	}
	return nil
}

func (t *tx) putDecision(d store.Decision) error {
	was, err := one[evidenced](&t.reader, key(decisionKey, d.ID))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	next := evidenced{storedDecision(d), was.Parts}
	if was.Parts == 0 && d.Evidence != nil {
		parts, err := packed(d.Evidence)
		if err != nil {
			return err
		}
		for i, p := range parts {
			t.set(evidencePart(d.ID, i), p)
		}
		next.Parts = len(parts)
	}
	return t.put(key(decisionKey, d.ID), next)
}

func (t *tx) AppendEvent(e store.Event) (uint64, error) {
	if e.Kind == "" || e.Severity == "" {
		return 0, fmt.Errorf("event of kind %q, severity %q: %w", e.Kind, e.Severity, store.ErrInvalid)
	}
	e.ID = t.head.Event + 1
	if err := t.put(eventID(e.ID), storedEvent(e)); err != nil {
		return 0, fmt.Errorf("append event %s: %w", e.Kind, err)
	}
	t.head.Event = e.ID
	return e.ID, nil
}

func (t *tx) DeleteEvents(before, keep time.Time, limit int) (int, error) {
	var old []string
	var err error
	each(t.tree, eventKeys, func(i item) bool {
		var e storedEvent
		if e, err = decode[storedEvent](i.key, i.value); err != nil {
			return false
		}
		if len(old) < limit && e.At.Before(before) && (e.Who == "" || e.At.Before(keep)) {
			old = append(old, i.key)
		}
		return len(old) < limit
	})
	if err != nil {
		return 0, fmt.Errorf("delete events: %w", err)
	}
	for _, k := range old {
		t.delete(k)
	}
	return len(old), nil
}

func (t *tx) PutSetting(s store.Setting) error {
	if s.Key == "" {
		return fmt.Errorf("setting without a key: %w", store.ErrInvalid)
	}
	if err := t.put(key(settingKeys, s.Key), storedSetting(s)); err != nil {
		return fmt.Errorf("put setting %s: %w", s.Key, err)
	}
	return nil
}

func (t *tx) DeleteSetting(k string) error {
	t.delete(key(settingKeys, k))
	return nil
}

func (t *tx) PutToken(k store.Token) error {
	if k.ID == "" || k.Kind == "" || len(k.Hash) == 0 {
		return fmt.Errorf("token %q of kind %q: %w", k.ID, k.Kind, store.ErrInvalid)
	}
	if err := t.put(key(tokenKeys, k.ID), storedToken(k)); err != nil {
		return fmt.Errorf("put token %s: %w", k.ID, err)
	}
	return nil
}

func (t *tx) TakeToken(id string, hash []byte, now time.Time) (store.Token, error) {
	k, err := t.Token(id)
	if err != nil {
		return store.Token{}, err
	}
	if k, err = k.Take(hash, now); err == nil {
		err = t.PutToken(k)
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("take token %s: %w", id, err)
	}
	return k, nil
}

func (t *tx) DeleteToken(id string) error {
	t.delete(key(tokenKeys, id))
	return nil
}

func (t *tx) PutDomain(d store.Domain) error {
	if d.Host == "" || d.UUID == "" {
		return fmt.Errorf("domain %q on host %q: %w", d.UUID, d.Host, store.ErrInvalid)
	}
	if !t.has(key(hostKeys, d.Host)) {
		return fmt.Errorf("put domain %s on host %s: %w", d.UUID, d.Host, store.ErrNotFound)
	}
	if err := t.put(key(domainKeys, d.Host, d.UUID), storedDomain(d)); err != nil {
		return fmt.Errorf("put domain %s on host %s: %w", d.UUID, d.Host, err)
	}
	return nil
}

func (t *tx) DeleteDomain(host, uuid string) error {
	t.delete(key(domainKeys, host, uuid))
	return nil
}
