package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// Place is where one store lives. Each call opens it; the suite closes what it
// has opened before it opens again.
type Place func() (store.Store, error)

// Run tests an engine. Each call of fresh makes a new, empty place.
func Run(t *testing.T, fresh func(t *testing.T) Place) {
	tests := []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"records come back as they were put, also after reopening", testRecords},
		{"a second put replaces", testReplace},
		{"what does not exist is not found", testNotFound},
		{"invalid records are refused", testInvalid},
		{"lists are filtered and sorted", testLists},
		{"events", testEvents},
		{"old events go, records of what people did later", testDeleteEvents},
		{"settings", testSettings},
		{"evidence is written once", testEvidence},
		{"hosts with claims stay", testDeleteHost},
		{"claims: compare and set", testClaims},
		{"epochs outlive deletion, rollback gives them back", testEpochs},
		{"claims: many writers, one winner each time", testRacingClaims},
		{"tokens are taken once", testTokens},
		{"a failed update leaves nothing", testAtomic},
		{"a view stands still", testView},
		{"identity", testIdentity},
		{"closed and cancelled", testClosed},
	}
	t.Run("everything moves to another place", func(t *testing.T) {
		f := &fixture{T: t, place: fresh(t)}
		f.reopen()
		t.Cleanup(func() { _ = f.Close() })
		testImport(t, f, fresh(t))
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{T: t, place: fresh(t)}
			f.reopen()
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, f)
		})
	}
}

// fixture is one open store and shorthands that fail the test.
type fixture struct {
	*testing.T
	store.Store
	place Place
}

func (f *fixture) reopen() {
	f.Helper()
	if f.Store != nil {
		if err := f.Close(); err != nil {
			f.Fatalf("close: %v", err)
		}
	}
	s, err := f.place()
	if err != nil {
		f.Fatalf("open: %v", err)
	}
	f.Store = s
}

func (f *fixture) update(fn func(tx store.Tx) error) {
	f.Helper()
	if err := f.Update(f.Context(), fn); err != nil {
		f.Fatalf("update: %v", err)
	}
}

func (f *fixture) view(fn func(r store.Reader) error) {
	f.Helper()
	if err := f.View(f.Context(), fn); err != nil {
		f.Fatalf("view: %v", err)
	}
}

// refused runs an update that must fail with this error.
func (f *fixture) refused(want error, fn func(tx store.Tx) error) {
	f.Helper()
	if err := f.Update(f.Context(), fn); !errors.Is(err, want) {
		f.Fatalf("update: got %v, want %v", err, want)
	}
}

// hosts enrols these.
func (f *fixture) hosts(names ...string) {
	f.Helper()
	f.update(func(tx store.Tx) error {
		for _, n := range names {
			if err := tx.PutHost(host(n)); err != nil {
				return err
			}
		}
		return nil
	})
}

// records is one of each record, all fields set.
type records struct {
	host, other store.Host
	claim       store.Claim
	migration   migration.Row
	owed        store.Owed
	decision    store.Decision
	event       store.Event
	setting     store.Setting
	token       store.Token
	domain      store.Domain
}

func newRecords(t *testing.T, seed int) records {
	r := records{
		host: filled[store.Host](t, seed+1), other: filled[store.Host](t, seed+2), claim: filled[store.Claim](t, seed+3),
		migration: filled[migration.Row](t, seed+4), owed: filled[store.Owed](t, seed+5),
		decision: filled[store.Decision](t, seed+6), event: filled[store.Event](t, seed+7),
		setting: filled[store.Setting](t, seed+8), token: filled[store.Token](t, seed+9), domain: filled[store.Domain](t, seed+10),
	}
	r.claim.Holder, r.claim.Target, r.domain.Host = r.host.Name, r.other.Name, r.host.Name
	return r
}

func (r *records) put(tx store.Tx) (err error) {
	keep := func(e error) { err = errors.Join(err, e) }
	keep(tx.PutHost(r.host))
	keep(tx.PutHost(r.other))
	r.claim.Epoch, err = tx.NextEpoch()
	keep(err)
	keep(tx.SwapClaim(0, r.claim))
	keep(tx.PutMigration(r.migration))
	keep(tx.PutOwed(r.owed))
	keep(tx.PutDecision(r.decision))
	r.event.ID, err = tx.AppendEvent(r.event)
	keep(err)
	keep(tx.PutSetting(r.setting))
	keep(tx.PutToken(r.token))
	keep(tx.PutDomain(r.domain))
	return err
}

func (r *records) check(t *testing.T) func(store.Reader) error {
	return func(rd store.Reader) error {
		t.Helper()
		h, err1 := rd.Host(r.host.Name)
		c, err2 := rd.Claim(r.claim.Domain)
		m, err3 := rd.Migration(r.migration.ID)
		o, err4 := rd.Owed(store.OwedFilter{})
		d, err5 := rd.Decision(r.decision.ID)
		e, err6 := rd.Events(store.EventFilter{})
		s, err7 := rd.Setting(r.setting.Key)
		k, err8 := rd.Token(r.token.ID)
		g, err9 := rd.Domains(store.DomainFilter{})
		if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9); err != nil {
			return err
		}
		same(t, "host", h, r.host)
		same(t, "claim", c, r.claim)
		same(t, "migration", m, r.migration)
		same(t, "owed", o, []store.Owed{r.owed})
		same(t, "decision", d, r.decision)
		same(t, "events", e, []store.Event{r.event})
		same(t, "setting", s, r.setting)
		same(t, "token", k, r.token)
		same(t, "domains", g, []store.Domain{r.domain})
		return nil
	}
}

func testRecords(t *testing.T, f *fixture) {
	r := newRecords(t, 0)
	f.update(func(tx store.Tx) error {
		if err := r.put(tx); err != nil {
			return err
		}
		return r.check(t)(tx) // a transaction sees its own writes
	})
	f.view(r.check(t))
	f.reopen()
	f.view(r.check(t))
}

func testReplace(t *testing.T, f *fixture) {
	r, next := newRecords(t, 0), newRecords(t, 100)
	f.update(r.put)
	next.host.Name, next.other.Name = r.host.Name, r.other.Name
	next.migration.ID, next.setting.Key, next.token.ID = r.migration.ID, r.setting.Key, r.token.ID
	next.decision.ID, next.decision.Evidence = r.decision.ID, r.decision.Evidence
	next.domain.Host, next.domain.UUID = r.domain.Host, r.domain.UUID
	next.owed.Kind, next.owed.Host, next.owed.Domain, next.owed.Attempt = r.owed.Kind, r.owed.Host, r.owed.Domain, r.owed.Attempt
	next.claim, next.event = r.claim, r.event
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutHost(next.host), tx.PutMigration(next.migration), tx.PutSetting(next.setting),
			tx.PutToken(next.token), tx.PutDecision(next.decision), tx.PutDomain(next.domain), tx.PutOwed(next.owed))
	})
	f.view(next.check(t)) // the claim too: replacing a host leaves what names it

	// Everything back to the zero value but the keys.
	zero := records{
		host: host(r.host.Name), claim: r.claim, event: r.event,
		migration: migration.Row{ID: r.migration.ID, Domain: "d", State: migration.Planned},
		owed:      store.Owed{Kind: r.owed.Kind, Host: r.owed.Host, Domain: r.owed.Domain, Attempt: r.owed.Attempt},
		decision:  store.Decision{ID: r.decision.ID, Kind: store.DecideHold, Status: store.Waiting},
		setting:   store.Setting{Key: r.setting.Key},
		token:     store.Token{ID: r.token.ID, Kind: store.AccessToken, Hash: []byte{1}},
		domain:    store.Domain{Host: r.domain.Host, UUID: r.domain.UUID},
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutHost(zero.host), tx.PutMigration(zero.migration), tx.PutSetting(zero.setting),
			tx.PutToken(zero.token), tx.PutDecision(zero.decision), tx.PutDomain(zero.domain), tx.PutOwed(zero.owed))
	})
	zero.decision.Evidence = r.decision.Evidence // that stays
	f.view(zero.check(t))

	f.update(func(tx store.Tx) error {
		return errors.Join(tx.DeleteDomain(r.domain.Host, r.domain.UUID), tx.DeleteOwed(r.owed), tx.DeleteToken(r.token.ID),
			tx.DeleteDomain(r.domain.Host, r.domain.UUID), tx.DeleteOwed(r.owed), tx.DeleteToken(r.token.ID)) // twice is no error
	})
	f.view(func(rd store.Reader) error {
		d, err1 := rd.Domains(store.DomainFilter{})
		o, err2 := rd.Owed(store.OwedFilter{})
		k, err3 := rd.Tokens()
		if len(d)+len(o)+len(k) != 0 {
			t.Errorf("after deletion: domains %v, owed %v, tokens %v", d, o, k)
		}
		return errors.Join(err1, err2, err3)
	})
}

func testNotFound(t *testing.T, f *fixture) {
	f.view(func(r store.Reader) error {
		_, err1 := r.Host("x")
		_, err2 := r.Claim("x")
		_, err3 := r.Migration("x")
		_, err4 := r.Decision("x")
		_, err5 := r.Setting("x")
		_, err6 := r.Token("x")
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("read %d: got %v, want ErrNotFound", i, err)
			}
		}
		return nil
	})
	f.refused(store.ErrNotFound, func(tx store.Tx) error {
		return tx.PutDomain(store.Domain{Host: "stranger", UUID: "d"})
	})
	f.hosts("h1")
	for _, c := range []store.Claim{
		{Domain: "d", Holder: "stranger", Phase: store.Held},
		{Domain: "d", Holder: "h1", Target: "stranger", Phase: store.Transferring},
	} {
		f.refused(store.ErrNotFound, func(tx store.Tx) (err error) {
			if c.Epoch, err = tx.NextEpoch(); err != nil {
				return err
			}
			return tx.SwapClaim(0, c)
		})
	}
}

func testInvalid(t *testing.T, f *fixture) {
	f.hosts("h1")
	nan := host("h1")
	nan.Risk.P30d = zero() / zero()
	for name, fn := range map[string]func(tx store.Tx) error{
		"host without name":        func(tx store.Tx) error { return tx.PutHost(store.Host{State: store.Healthy}) },
		"host without state":       func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h"}) },
		"host with NaN for a risk": func(tx store.Tx) error { return tx.PutHost(nan) },
		"claim without domain": func(tx store.Tx) error {
			return tx.SwapClaim(0, store.Claim{Holder: "h1", Phase: store.Held, Epoch: 1})
		},
		"claim without holder": func(tx store.Tx) error { return tx.SwapClaim(0, store.Claim{Domain: "d", Phase: store.Held, Epoch: 1}) },
		"claim without phase":  func(tx store.Tx) error { return tx.SwapClaim(0, store.Claim{Domain: "d", Holder: "h1", Epoch: 1}) },
		"migration without id": func(tx store.Tx) error { return tx.PutMigration(migration.Row{Domain: "d", State: migration.Planned}) },
		"migration without outcome": func(tx store.Tx) error {
			return tx.PutMigration(migration.Row{ID: "m", Domain: "d", State: migration.Done})
		},
		"owed by nobody": func(tx store.Tx) error { return tx.PutOwed(store.Owed{Kind: store.OwedVoid, Domain: "d"}) },
		"decision without id": func(tx store.Tx) error {
			return tx.PutDecision(store.Decision{Kind: store.DecideHold, Status: store.Waiting})
		},
		"event without kind":  func(tx store.Tx) error { _, err := tx.AppendEvent(store.Event{Severity: store.Info}); return err },
		"setting without key": func(tx store.Tx) error { return tx.PutSetting(store.Setting{Value: "on"}) },
		"token without hash":  func(tx store.Tx) error { return tx.PutToken(store.Token{ID: "k", Kind: store.EnrolToken}) },
		"domain without uuid": func(tx store.Tx) error { return tx.PutDomain(store.Domain{Host: "h1"}) },
	} {
		t.Run(name, func(t *testing.T) {
			g := &fixture{T: t, Store: f.Store}
			g.refused(store.ErrInvalid, fn)
		})
	}
}

// zero hides a zero from the compiler.
func zero() float64 { return 0 }

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

func testEvents(t *testing.T, f *fixture) {
	var last uint64
	for i := range 6 {
		e := store.Event{At: after(i), Kind: "test", Severity: store.Info, Text: fmt.Sprint(i)}
		switch i % 3 {
		case 0:
			e.Host = "h1"
		case 1:
			e.Domain = "d1"
		case 2:
			e.Migration = "m1"
		}
		f.update(func(tx store.Tx) error {
			id, err := tx.AppendEvent(e)
			if err == nil && id <= last {
				err = fmt.Errorf("id %d follows %d", id, last)
			}
			last = id
			return err
		})
	}
	f.view(func(r store.Reader) error {
		for _, tt := range []struct {
			filter store.EventFilter
			want   string
		}{
			{store.EventFilter{}, "[0 1 2 3 4 5]"},
			{store.EventFilter{Last: 2}, "[4 5]"},
			{store.EventFilter{Limit: 2}, "[0 1]"},
			{store.EventFilter{After: last - 2}, "[4 5]"},
			{store.EventFilter{After: last}, "[]"},
			{store.EventFilter{After: last - 4, Limit: 1}, "[2]"},
			{store.EventFilter{Host: "h1"}, "[0 3]"},
			{store.EventFilter{Domain: "d1", Last: 1}, "[4]"},
			{store.EventFilter{Migration: "m1"}, "[2 5]"},
		} {
			got, err := r.Events(tt.filter)
			if err != nil {
				return err
			}
			if texts := fmt.Sprint(ids(got, func(e store.Event) string { return e.Text })); texts != tt.want {
				t.Errorf("events %+v: got %s, want %s", tt.filter, texts, tt.want)
			}
		}
		return nil
	})
}

func testEvidence(t *testing.T, f *fixture) {
	d := store.Decision{ID: "x", At: epoch0, Host: "h", Kind: store.DecideEvacuate, Status: store.Waiting}
	put := func(evidence []byte) {
		d.Evidence = evidence
		f.update(func(tx store.Tx) error { return tx.PutDecision(d) })
	}
	put(nil)
	put([]byte("seen"))
	put(nil)
	put([]byte("invented later"))
	f.view(func(r store.Reader) error {
		got, err := r.Decision("x")
		if string(got.Evidence) != "seen" {
			t.Errorf("evidence is %q", got.Evidence)
		}
		all, err2 := r.Decisions(store.DecisionFilter{})
		if len(all) != 1 || all[0].Evidence != nil {
			t.Errorf("listed %+v, want one without evidence", all)
		}
		return errors.Join(err, err2)
	})
}

func testDeleteHost(t *testing.T, f *fixture) {
	f.hosts("h1", "h2")
	c := store.Claim{Domain: "d", Holder: "h1", Target: "h2", Phase: store.Transferring}
	f.update(func(tx store.Tx) (err error) {
		if c.Epoch, err = tx.NextEpoch(); err != nil {
			return err
		}
		return errors.Join(tx.SwapClaim(0, c), tx.PutDomain(store.Domain{Host: "h1", UUID: "d"}))
	})
	for _, h := range []string{"h1", "h2"} {
		f.refused(store.ErrReferenced, func(tx store.Tx) error { return tx.DeleteHost(h) })
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.DeleteClaim("d", c.Epoch), tx.DeleteHost("h1"), tx.DeleteHost("h2"), tx.DeleteHost("h2"))
	})
	f.view(func(r store.Reader) error {
		hosts, err1 := r.Hosts()
		domains, err2 := r.Domains(store.DomainFilter{})
		if len(hosts)+len(domains) != 0 {
			t.Errorf("left: hosts %v, domains %v", hosts, domains)
		}
		return errors.Join(err1, err2)
	})
}

func testTokens(t *testing.T, f *fixture) {
	k := store.Token{ID: "k", Kind: store.EnrolToken, Host: "h1", Hash: []byte("right"), Expires: after(60)}
	access := store.Token{ID: "a", Kind: store.AccessToken, Role: "viewer", Hash: []byte("right")}
	f.update(func(tx store.Tx) error { return errors.Join(tx.PutToken(k), tx.PutToken(access)) })
	take := func(id, hash string, minute int) func(store.Tx) error {
		return func(tx store.Tx) error { _, err := tx.TakeToken(id, []byte(hash), after(minute)); return err }
	}
	f.refused(store.ErrNotFound, take("none", "right", 1))
	f.refused(store.ErrNotFound, take("k", "wrong", 1))
	f.refused(store.ErrNotFound, take("a", "right", 1))
	f.refused(store.ErrExpired, take("k", "right", 60))

	var won sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch err := f.Update(context.Background(), take("k", "right", 59)); {
			case err == nil:
				won.Store(i, true)
			case !errors.Is(err, store.ErrUsed):
				t.Errorf("taker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	winners := 0
	won.Range(func(any, any) bool { winners++; return true })
	if winners != 1 {
		t.Errorf("%d took the token", winners)
	}
	f.view(func(r store.Reader) error {
		got, err := r.Token("k")
		if !got.Used.Equal(after(59)) {
			t.Errorf("used at %v", got.Used)
		}
		all, err2 := r.Tokens()
		if len(all) != 2 || all[0].ID != "a" {
			t.Errorf("tokens %+v", all)
		}
		return errors.Join(err, err2)
	})
}
