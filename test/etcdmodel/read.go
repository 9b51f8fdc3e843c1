package etcdmodel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// reader reads one state: store.Reader.
type reader struct{ state }

var _ store.Reader = (*reader)(nil)

func (r *reader) has(k kind, names ...string) bool { return r.tree.Has(item{key: key(k, names...)}) }

// one is the record of these names.
func one[T any](r *reader, k kind, names ...string) (v T, err error) {
	i, ok := r.tree.Get(item{key: key(k, names...)})
	if !ok {
		return v, fmt.Errorf("%s %s: %w", k, strings.Join(names, " "), store.ErrNotFound)
	}
	return detached(i.value.(T))
}

// all are the records of a kind that want has, by key.
func all[T any](r *reader, k kind, want func(T) bool) (found []T, err error) {
	prefix := key(k)
	r.tree.AscendGreaterOrEqual(item{key: prefix}, func(i item) bool {
		if !strings.HasPrefix(i.key, prefix) {
			return false
		}
		if v := i.value.(T); want(v) {
			if v, err = detached(v); err != nil {
				return false
			}
			found = append(found, v)
		}
		return true
	})
	return found, err
}

// is says whether a filter's value, if it has one, is this one.
func is[T comparable](filter, value T) bool {
	var none T
	return filter == none || filter == value
}

func (r *reader) Host(name string) (store.Host, error) { return one[store.Host](r, hosts, name) }

func (r *reader) Hosts() ([]store.Host, error) {
	return all(r, hosts, func(store.Host) bool { return true })
}

func (r *reader) LastEpoch() (uint64, error) { return r.head.Epoch, nil }

func (r *reader) Claim(domain string) (store.Claim, error) {
	return one[store.Claim](r, claims, domain)
}

func (r *reader) Claims(f store.ClaimFilter) ([]store.Claim, error) {
	return all(r, claims, func(c store.Claim) bool {
		return (is(f.Host, c.Holder) || is(f.Host, c.Target)) && is(f.Phase, c.Phase)
	})
}

func (r *reader) Migration(id string) (migration.Row, error) { return one[migration.Row](r, rows, id) }

func (r *reader) Migrations(f store.MigrationFilter) ([]migration.Row, error) {
	found, err := all(r, rows, func(m migration.Row) bool {
		return !(f.Open && m.State.Ended()) && (is(f.Host, m.Source) || is(f.Host, m.Target)) && is(f.Domain, m.Domain) && is(f.Decision, m.Decision)
	})
	slices.SortFunc(found, func(a, b migration.Row) int {
		return cmp.Or(b.Planned.Compare(a.Planned), strings.Compare(b.ID, a.ID))
	})
	return first(found, f.Limit), err
}

func (r *reader) Owed(f store.OwedFilter) ([]store.Owed, error) {
	found, err := all(r, debts, func(o store.Owed) bool { return is(f.Kind, o.Kind) && is(f.Host, o.Host) && is(f.Domain, o.Domain) })
	slices.SortStableFunc(found, func(a, b store.Owed) int { return a.Since.Compare(b.Since) })
	return found, err
}

func (r *reader) Decision(id string) (store.Decision, error) {
	return one[store.Decision](r, decisions, id)
}

func (r *reader) Decisions(f store.DecisionFilter) ([]store.Decision, error) {
	found, err := all(r, decisions, func(d store.Decision) bool {
		return is(f.Host, d.Host) && is(f.Kind, d.Kind) && is(f.Status, d.Status) && (f.Since.IsZero() || !d.At.Before(f.Since))
	})
	slices.SortFunc(found, func(a, b store.Decision) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(b.ID, a.ID)) })
	for i := range found {
		found[i].Evidence = nil
	}
	return first(found, f.Limit), err
}

func (r *reader) Events(f store.EventFilter) ([]store.Event, error) {
	found, err := all(r, events, func(e store.Event) bool {
		return e.ID > f.After && is(f.Host, e.Host) && is(f.Domain, e.Domain) && is(f.Migration, e.Migration)
	})
	if f.Last > 0 {
		found = found[max(0, len(found)-f.Last):]
	}
	return first(found, f.Limit), err
}

func (r *reader) Setting(k string) (store.Setting, error) { return one[store.Setting](r, settings, k) }

func (r *reader) Settings(prefix string) ([]store.Setting, error) {
	return all(r, settings, func(s store.Setting) bool { return strings.HasPrefix(s.Key, prefix) })
}

func (r *reader) Token(id string) (store.Token, error) { return one[store.Token](r, tokens, id) }

func (r *reader) Tokens() ([]store.Token, error) {
	return all(r, tokens, func(store.Token) bool { return true })
}

func (r *reader) Domains(f store.DomainFilter) ([]store.Domain, error) {
	found, err := all(r, domains, func(d store.Domain) bool { return is(f.Host, d.Host) && is(f.UUID, d.UUID) && is(f.Name, d.Name) })
	slices.SortFunc(found, func(a, b store.Domain) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID))
	})
	return found, err
}

// first cuts a list; 0 is no limit.
func first[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit]
	}
	return all
}
