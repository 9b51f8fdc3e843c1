package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

func testLists(t *testing.T, f *fixture) {
	f.hosts("h3", "h1", "h2")
	f.update(func(tx store.Tx) error {
		claims := []store.Claim{
			{Domain: "d3", Holder: "h1", Phase: store.Held},
			{Domain: "d1", Holder: "h1", Target: "h2", Phase: store.Transferring},
			{Domain: "d2", Holder: "h2", Phase: store.Held},
		}
		for _, c := range claims {
			var err error
			if c.Epoch, err = tx.NextEpoch(); err != nil {
				return err
			}
			if err := tx.SwapClaim(0, c); err != nil {
				return err
			}
		}
		for i, m := range []migration.Row{
			{ID: "m1", Domain: "d1", Source: "h1", Target: "h2", State: migration.Running, Decision: "x1"},
			{ID: "m2", Domain: "d2", Source: "h2", Target: "h3", State: migration.Done, Outcome: "moved", Decision: "x1"},
			{ID: "m3", Domain: "d1", Source: "h3", Target: "h1", State: migration.Unclear},
		} {
			m.Planned = after(i)
			if err := tx.PutMigration(m); err != nil {
				return err
			}
		}
		var errs []error
		for i, d := range []store.Decision{
			{ID: "x1", Host: "h1", Kind: store.DecideEvacuate, Status: store.Acting},
			{ID: "x2", Host: "h1", Kind: store.DecideWatch, Status: store.Recorded},
			{ID: "x3", Host: "h2", Kind: store.DecideEvacuate, Status: store.Waiting},
		} {
			d.At = after(i)
			errs = append(errs, tx.PutDecision(d))
		}
		errs = append(errs,
			tx.PutOwed(store.Owed{Kind: store.OwedVoid, Host: "h2", Domain: "d1", Attempt: "m1", Since: after(2)}),
			tx.PutOwed(store.Owed{Kind: store.OwedReservation, Host: "h2", Domain: "d1", Attempt: "m1", Since: after(1)}),
			tx.PutOwed(store.Owed{Kind: store.OwedVoid, Host: "h1", Domain: "d2", Attempt: "m2", Since: after(0)}),
			tx.PutDomain(store.Domain{Host: "h2", UUID: "d1", Name: "web"}),
			tx.PutDomain(store.Domain{Host: "h1", UUID: "d1", Name: "web"}),
			tx.PutDomain(store.Domain{Host: "h1", UUID: "d2", Name: "db"}))
		return errors.Join(errs...)
	})
	f.view(func(r store.Reader) error {
		list := func(what string, got []string, err error, want ...string) {
			t.Helper()
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: got %v (%v), want %v", what, got, err, want)
			}
		}
		hosts, err := r.Hosts()
		list("hosts", ids(hosts, func(h store.Host) string { return h.Name }), err, "h1", "h2", "h3")

		claims := func(filter store.ClaimFilter, want ...string) {
			t.Helper()
			got, err := r.Claims(filter)
			list(fmt.Sprintf("claims %+v", filter), ids(got, func(c store.Claim) string { return c.Domain }), err, want...)
		}
		claims(store.ClaimFilter{}, "d1", "d2", "d3")
		claims(store.ClaimFilter{Host: "h2"}, "d1", "d2")
		claims(store.ClaimFilter{Host: "h1", Phase: store.Held}, "d3")

		migrations := func(filter store.MigrationFilter, want ...string) {
			t.Helper()
			got, err := r.Migrations(filter)
			list(fmt.Sprintf("migrations %+v", filter), ids(got, func(m migration.Row) string { return m.ID }), err, want...)
		}
		migrations(store.MigrationFilter{}, "m3", "m2", "m1")
		migrations(store.MigrationFilter{Open: true}, "m3", "m1")
		migrations(store.MigrationFilter{Host: "h2"}, "m2", "m1")
		migrations(store.MigrationFilter{Domain: "d1", Limit: 1}, "m3")
		migrations(store.MigrationFilter{Decision: "x1"}, "m2", "m1")

		decisions := func(filter store.DecisionFilter, want ...string) {
			t.Helper()
			got, err := r.Decisions(filter)
			list(fmt.Sprintf("decisions %+v", filter), ids(got, func(d store.Decision) string { return d.ID }), err, want...)
		}
		decisions(store.DecisionFilter{}, "x3", "x2", "x1")
		decisions(store.DecisionFilter{Host: "h1", Limit: 1}, "x2")
		decisions(store.DecisionFilter{Kind: store.DecideEvacuate}, "x3", "x1")
		decisions(store.DecisionFilter{Status: store.Waiting}, "x3")
		decisions(store.DecisionFilter{Since: after(1)}, "x3", "x2")

		owed := func(filter store.OwedFilter, want ...string) {
			t.Helper()
			got, err := r.Owed(filter)
			list(fmt.Sprintf("owed %+v", filter), ids(got, func(o store.Owed) string { return string(o.Kind) + " " + o.Host }), err, want...)
		}
		owed(store.OwedFilter{}, "void h1", "reservation h2", "void h2")
		owed(store.OwedFilter{Kind: store.OwedVoid, Host: "h2"}, "void h2")
		owed(store.OwedFilter{Domain: "d2"}, "void h1")

		domains := func(filter store.DomainFilter, want ...string) {
			t.Helper()
			got, err := r.Domains(filter)
			list(fmt.Sprintf("domains %+v", filter), ids(got, func(d store.Domain) string { return d.Host + " " + d.Name }), err, want...)
		}
		domains(store.DomainFilter{}, "h1 db", "h1 web", "h2 web")
		domains(store.DomainFilter{Host: "h2"}, "h2 web")
		domains(store.DomainFilter{UUID: "d1"}, "h1 web", "h2 web")
		domains(store.DomainFilter{Name: "db"}, "h1 db")
		return nil
	})
}

func ids[T any](all []T, id func(T) string) []string {
	var out []string
	for _, v := range all {
		out = append(out, id(v))
	}
	return out
}
