package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/vireo-kvm/vireo/store"
)

func testAtomic(t *testing.T, f *fixture) {
	f.hosts("h1")
	undo := errors.New("undo")
	r := newRecords(t, 0)
	f.refused(undo, func(tx store.Tx) error { return errors.Join(r.put(tx), undo) })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not come through")
			}
		}()
		_ = f.Update(t.Context(), func(tx store.Tx) error {
			if err := r.put(tx); err != nil {
				return err
			}
			panic("in the middle")
		})
	}()
	// A refused change within a transaction that goes on leaves nothing either.
	f.update(func(tx store.Tx) error {
		if err := tx.PutDomain(store.Domain{Host: "stranger", UUID: "d"}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("domain of a stranger: %v", err)
		}
		return tx.PutSetting(store.Setting{Key: "after", Value: "kept"})
	})
	f.view(func(rd store.Reader) error {
		hosts, err1 := rd.Hosts()
		claims, err2 := rd.Claims(store.ClaimFilter{})
		events, err3 := rd.Events(store.EventFilter{})
		rows, err4 := rd.Migrations(store.MigrationFilter{})
		domains, err5 := rd.Domains(store.DomainFilter{})
		if len(hosts) != 1 || len(claims)+len(events)+len(rows)+len(domains) != 0 {
			t.Errorf("left: %d hosts, %v, %v, %v, %v", len(hosts), claims, events, rows, domains)
		}
		_, err6 := rd.Setting("after")
		return errors.Join(err1, err2, err3, err4, err5, err6)
	})
}

func testView(t *testing.T, f *fixture) {
	f.hosts("h1")
	f.view(func(before store.Reader) error {
		if h, err := before.Hosts(); len(h) != 1 {
			t.Fatalf("hosts %v, %v", h, err)
		}
		f.hosts("h2", "h3") // does not wait for the view
		f.view(func(now store.Reader) error {
			h, err := now.Hosts()
			if len(h) != 3 {
				t.Errorf("a new view shows %d hosts", len(h))
			}
			return err
		})
		h, err := before.Hosts()
		if len(h) != 1 {
			t.Errorf("the old view shows %d hosts", len(h))
		}
		return err
	})
	want := errors.New("wanted")
	if err := f.View(t.Context(), func(store.Reader) error { return want }); !errors.Is(err, want) {
		t.Errorf("view returned %v", err)
	}
}

func testIdentity(t *testing.T, f *fixture) {
	first := f.Identity()
	if first.Generation == 0 || first.Term == 0 || first.Instance == "" {
		t.Errorf("first identity %+v", first)
	}
	f.reopen()
	second := f.Identity()
	if second.Generation != first.Generation || second.Term <= first.Term || second.Instance == first.Instance {
		t.Errorf("reopened: %+v after %+v", second, first)
	}
	for _, seen := range []uint64{0, second.Generation + 10} {
		was := f.Identity()
		got, err := f.NewGeneration(t.Context(), seen)
		if err != nil {
			t.Fatal(err)
		}
		if got.Generation <= was.Generation || got.Generation <= seen || got.Term != was.Term || got != f.Identity() {
			t.Errorf("new generation after %+v and %d: %+v, identity %+v", was, seen, got, f.Identity())
		}
	}
	f.hosts("h1") // it can still write
	was := f.Identity()
	f.reopen()
	if now := f.Identity(); now.Generation != was.Generation || now.Term <= was.Term {
		t.Errorf("reopened: %+v after %+v", now, was)
	}
}

func testClosed(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := false
	if err := f.Update(ctx, func(store.Tx) error { called = true; return nil }); !errors.Is(err, context.Canceled) || called {
		t.Errorf("cancelled update: %v, called %v", err, called)
	}
	if err := f.View(ctx, func(store.Reader) error { called = true; return nil }); !errors.Is(err, context.Canceled) || called {
		t.Errorf("cancelled view: %v, called %v", err, called)
	}
	// Cancelled in the middle it is finished: half a commit is none.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if err := f.Update(ctx, func(tx store.Tx) error { cancel(); return tx.PutHost(host("h1")) }); err != nil {
		t.Errorf("update cancelled in the middle: %v", err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := f.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update of a closed store: %v", err)
	}
	if err := f.View(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view of a closed store: %v", err)
	}
	f.reopen()
	f.view(func(r store.Reader) error { _, err := r.Host("h1"); return err })
}
