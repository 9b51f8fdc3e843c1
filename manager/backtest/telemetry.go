package backtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// Source is a store that is read; store/sqlite's ReadOnly is one.
type Source interface {
	Hosts(ctx context.Context) ([]string, error)
	View(ctx context.Context, f func(store.Reader) error) error
	Latest(ctx context.Context, host string) ([]signal.Reading, error)
	Rollups(ctx context.Context, q store.Query, width store.Width) ([]store.Rollup, error)
	RiskHistory(ctx context.Context, host, component string, since time.Time) ([]store.ComponentRisk, error)
}

// Host is what is stored of one host.
type Host struct {
	Name     string
	Readings []signal.Reading // the last of each day, component and signal; oldest first
	Needs    []store.Dependency
	Guests   []store.Claim // what it holds now
}

// Read reads a fleet. Days whose readings are no longer stored come from their
// roll-ups.
func Read(ctx context.Context, s Source) ([]Host, error) {
	var out []Host
	err := Each(ctx, s, func(string) bool { return true }, func(h Host) error {
		out = append(out, h)
		return nil
	})
	return out, err
}

// Each reads one host after the other, of each the components that are wanted,
// and holds no more than one of them: years of a large fleet do not fit into
// memory.
func Each(ctx context.Context, s Source, wanted func(component string) bool, visit func(Host) error) error {
	names, err := s.Hosts(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		h, err := readHost(ctx, s, name, wanted)
		if err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
		if err := visit(h); err != nil {
			return err
		}
	}
	return nil
}

func readHost(ctx context.Context, s Source, name string, wanted func(component string) bool) (Host, error) {
	h := Host{Name: name}
	err := s.View(ctx, func(r store.Reader) error {
		if host, err := r.Host(name); err == nil {
			h.Needs = host.Facts.Dependencies
		}
		claims, err := r.Claims(store.ClaimFilter{})
		for _, c := range claims {
			if c.Holder == name {
				h.Guests = append(h.Guests, c)
			}
		}
		return err
	})
	if err != nil {
		return h, err
	}
	latest, err := s.Latest(ctx, name)
	if err != nil {
		return h, err
	}
	latest = slices.DeleteFunc(latest, func(r signal.Reading) bool { return !wanted(r.Component) })
	var days []store.Rollup
	for i := range latest {
		if i > 0 && latest[i].Component == latest[i-1].Component {
			continue // they are sorted by component
		}
		of, err := s.Rollups(ctx, store.Query{Host: name, Component: latest[i].Component}, store.Daily)
		if err != nil {
			return h, err
		}
		days = append(days, of...)
	}
	first := map[string]time.Time{} // by component
	units := map[[2]string]string{}
	for _, d := range days {
		if at, ok := first[d.Component]; !ok || d.LastAt.Before(at) {
			first[d.Component] = d.LastAt
		}
	}
	for _, l := range latest {
		units[[2]string{l.Component, l.Signal}] = l.Unit
		if l.Value == nil && l.Status == signal.OK { // what it is: known from its first day on
			if at, ok := first[l.Component]; ok {
				l.ObservedAt = at
				h.Readings = append(h.Readings, l)
			}
		}
	}
	for _, d := range days {
		value := d.Last
		h.Readings = append(h.Readings, signal.Reading{Host: name, Component: d.Component, Signal: d.Signal, Value: &value,
			Unit: units[[2]string{d.Component, d.Signal}], ObservedAt: d.LastAt, Status: signal.OK})
	}
	slices.SortStableFunc(h.Readings, func(a, b signal.Reading) int {
		return cmp.Or(a.ObservedAt.Compare(b.ObservedAt), cmp.Compare(a.Component, b.Component))
	})
	return h, nil
}
