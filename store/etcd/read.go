package etcd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// reader reads one state: store.Reader.
type reader struct {
	head     head
	tree     *btree.BTreeG[item]
	evidence func(id string, parts int) ([]byte, error)
}

var _ store.Reader = (*reader)(nil)

// one reads the record under a key; ErrNotFound when there is none.
func one[T any](r *reader, key string) (T, error) {
	i, ok := r.tree.Get(item{key: key})
	if !ok {
		var none T
		return none, store.ErrNotFound
	}
	return decode[T](i.key, i.value)
}

// list reads the records under a prefix that want has, as what give makes of them.
func list[T, G any](r *reader, prefix string, give func(T) G, want func(G) bool) (all []G, err error) {
	each(r.tree, prefix, func(i item) bool {
		var v T
		if v, err = decode[T](i.key, i.value); err != nil {
			return false
		}
		if g := give(v); want(g) {
			all = append(all, g)
		}
		return true
	})
	return all, err
}

func everything[G any](G) bool { return true }

func toHost(h storedHost) store.Host             { return store.Host(h) }
func toClaim(c storedClaim) store.Claim          { return store.Claim(c) }
func toOwed(o storedOwed) store.Owed             { return store.Owed(o) }
func toDecision(d storedDecision) store.Decision { return store.Decision(d) }
func toSetting(s storedSetting) store.Setting    { return store.Setting(s) }
func toToken(k storedToken) store.Token          { return store.Token(k) }
func toDomain(d storedDomain) store.Domain       { return store.Domain(d) }

func (r *reader) Host(name string) (store.Host, error) {
	h, err := one[storedHost](r, key(hostKeys, name))
	if err != nil {
		return store.Host{}, fmt.Errorf("host %s: %w", name, err)
	}
	return store.Host(h), nil
}

func (r *reader) Hosts() ([]store.Host, error) {
	all, err := list(r, hostKeys, toHost, everything)
	slices.SortFunc(all, func(a, b store.Host) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

func (r *reader) LastEpoch() (uint64, error) { return r.head.Epoch, nil }

func (r *reader) Claim(domain string) (store.Claim, error) {
	c, err := one[storedClaim](r, key(claimKeys, domain))
	if err != nil {
		return store.Claim{}, fmt.Errorf("claim of %s: %w", domain, err)
	}
	return store.Claim(c), nil
}

func (r *reader) Claims(f store.ClaimFilter) ([]store.Claim, error) {
	all, err := list(r, claimKeys, toClaim, func(c store.Claim) bool {
		return (f.Host == "" || c.Holder == f.Host || c.Target == f.Host) && (f.Phase == "" || c.Phase == f.Phase)
	})
	slices.SortFunc(all, func(a, b store.Claim) int { return strings.Compare(a.Domain, b.Domain) })
	return all, err
}

func (r *reader) Migration(id string) (migration.Row, error) {
	m, err := one[storedRow](r, key(rowKeys, id))
	if err != nil {
		return migration.Row{}, fmt.Errorf("migration %s: %w", id, err)
	}
	return m.migration(), nil
}

func (r *reader) Migrations(f store.MigrationFilter) ([]migration.Row, error) {
	all, err := list(r, rowKeys, storedRow.migration, func(m migration.Row) bool {
		return (!f.Open || !m.State.Ended()) && (f.Host == "" || m.Source == f.Host || m.Target == f.Host) &&
			(f.Domain == "" || m.Domain == f.Domain) && (f.Decision == "" || m.Decision == f.Decision)
	})
	slices.SortFunc(all, func(a, b migration.Row) int {
		return cmp.Or(b.Planned.Compare(a.Planned), strings.Compare(b.ID, a.ID))
	})
	return first(all, f.Limit), err
}

func (r *reader) Owed(f store.OwedFilter) ([]store.Owed, error) {
	all, err := list(r, owedKeys, toOwed, func(o store.Owed) bool {
		return (f.Kind == "" || o.Kind == f.Kind) && (f.Host == "" || o.Host == f.Host) && (f.Domain == "" || o.Domain == f.Domain)
	})
	slices.SortFunc(all, func(a, b store.Owed) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Host, b.Host), strings.Compare(a.Domain, b.Domain),
			strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Attempt, b.Attempt))
	})
	return all, err
}

func (r *reader) Decision(id string) (store.Decision, error) {
	d, err := one[evidenced](r, key(decisionKey, id))
	if err == nil && d.Parts > 0 {
		d.Evidence, err = r.evidence(id, d.Parts)
	}
	if err != nil {
		return store.Decision{}, fmt.Errorf("decision %s: %w", id, err)
	}
	return store.Decision(d.storedDecision), nil
}

func (r *reader) Decisions(f store.DecisionFilter) ([]store.Decision, error) {
	all, err := list(r, decisionKey, toDecision, func(d store.Decision) bool {
		return (f.Host == "" || d.Host == f.Host) && (f.Kind == "" || d.Kind == f.Kind) && (f.Status == "" || d.Status == f.Status) &&
			(f.Since.IsZero() || !d.At.Before(f.Since))
	})
	slices.SortFunc(all, func(a, b store.Decision) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(b.ID, a.ID)) })
	return first(all, f.Limit), err
}

// Events walks from the end that the filter wants, and no further than it has to.
func (r *reader) Events(f store.EventFilter) (all []store.Event, err error) {
	limit := f.Limit
	if f.Last > 0 {
		limit = f.Last
	}
	take := func(i item) bool {
		if !strings.HasPrefix(i.key, eventKeys) {
			return false
		}
		var e storedEvent
		if e, err = decode[storedEvent](i.key, i.value); err != nil || e.ID <= f.After {
			return err == nil && f.Last == 0
		}
		if (f.Host == "" || e.Host == f.Host) && (f.Domain == "" || e.Domain == f.Domain) && (f.Migration == "" || e.Migration == f.Migration) {
			all = append(all, store.Event(e))
		}
		return limit == 0 || len(all) < limit
	}
	if f.Last == 0 {
		r.tree.AscendGreaterOrEqual(item{key: eventID(f.After)}, take)
	} else {
		r.tree.DescendLessOrEqual(item{key: eventKeys + "~"}, take)
		slices.Reverse(all)
		all = first(all, f.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return all, nil
}

func (r *reader) Setting(k string) (store.Setting, error) {
	s, err := one[storedSetting](r, key(settingKeys, k))
	if err != nil {
		return store.Setting{}, fmt.Errorf("setting %s: %w", k, err)
	}
	return store.Setting(s), nil
}

func (r *reader) Settings(prefix string) ([]store.Setting, error) {
	all, err := list(r, settingKeys, toSetting, func(s store.Setting) bool { return strings.HasPrefix(s.Key, prefix) })
	slices.SortFunc(all, func(a, b store.Setting) int { return strings.Compare(a.Key, b.Key) })
	return all, err
}

func (r *reader) Token(id string) (store.Token, error) {
	k, err := one[storedToken](r, key(tokenKeys, id))
	if err != nil {
		return store.Token{}, fmt.Errorf("token %s: %w", id, err)
	}
	return store.Token(k), nil
}

func (r *reader) Tokens() ([]store.Token, error) {
	all, err := list(r, tokenKeys, toToken, everything)
	slices.SortFunc(all, func(a, b store.Token) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

func (r *reader) Domains(f store.DomainFilter) ([]store.Domain, error) {
	prefix := domainKeys
	if f.Host != "" {
		prefix = key(domainKeys, f.Host) + "/"
	}
	all, err := list(r, prefix, toDomain, func(d store.Domain) bool {
		return (f.UUID == "" || d.UUID == f.UUID) && (f.Name == "" || d.Name == f.Name)
	})
	slices.SortFunc(all, func(a, b store.Domain) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID))
	})
	return all, err
}

// first cuts a list; 0 is no limit.
func first[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit]
	}
	return all
}

// readEvidence fetches what is not kept in memory.
func (c *client) readEvidence(ctx context.Context, id string, parts int) ([]byte, error) {
	all := make([][]byte, parts)
	for i := range all {
		kv, err := c.get(ctx, evidencePart(id, i))
		if err != nil {
			return nil, err
		}
		if kv == nil {
			return nil, fmt.Errorf("part %d of %d of its evidence is missing: %w", i, parts, store.ErrCorrupt)
		}
		all[i] = kv.Value
	}
	return unpacked(all)
}
