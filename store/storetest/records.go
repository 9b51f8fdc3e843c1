package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

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
