package stores

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// place is a configuration with both stores.
func place(t *testing.T) configs.Manager {
	t.Helper()
	cfg := configs.DefaultManager()
	cfg.StateDir = t.TempDir()
	cfg.Etcd.Endpoints = etcdtest.Start(t, etcdtest.Options{}).Endpoints()
	return cfg
}

func open(t *testing.T, cfg configs.Manager, kind string) store.Importer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, cfg, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// fill gives a store a fleet that takes more than one request to write.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutHost(store.Host{Name: "h1", State: store.Healthy}); err != nil {
			return err
		}
		for i := range 300 {
			epoch, err := tx.NextEpoch()
			if err != nil {
				return err
			}
			c := store.Claim{Domain: fmt.Sprint("d", i), Holder: "h1", Phase: store.Held, Epoch: epoch}
			if err := tx.SwapClaim(0, c); err != nil {
				return err
			}
			if _, err := tx.AppendEvent(store.Event{Kind: "test", Severity: store.Info, Text: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return tx.PutDecision(store.Decision{ID: "x", Kind: store.DecideHold, Status: store.Waiting, Evidence: []byte("seen")})
	})
	if err != nil {
		t.Fatal(err)
	}
}

var now = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

func TestThereAndBack(t *testing.T) {
	cfg := place(t)
	lite, net := open(t, cfg, configs.StoreSQLite), open(t, cfg, configs.StoreEtcd)
	fill(t, lite)
	want, err := store.ReadWhole(t.Context(), lite)
	if err != nil {
		t.Fatal(err)
	}
	last := want.Generation
	check := func(s store.Importer) {
		t.Helper()
		got, err := store.ReadWhole(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if d := want.Differs(got); d != "" {
			t.Fatal(d)
		}
		if got.Generation <= last {
			t.Errorf("generation %d after %d", got.Generation, last)
		}
		last = got.Generation
	}
	for range 2 {
		if _, err := Move(t.Context(), lite, net, "sqlite to etcd", now); err != nil {
			t.Fatal(err)
		}
		check(net)
		if err := Usable(t.Context(), lite); err == nil || !strings.Contains(err.Error(), "sqlite to etcd") {
			t.Errorf("the old store: %v", err)
		}
		if err := Usable(t.Context(), net); err != nil {
			t.Errorf("the new store: %v", err)
		}
		if _, err := Move(t.Context(), lite, net, "again", now); err == nil {
			t.Error("what has moved moved again")
		}
		if _, err := Move(t.Context(), net, lite, "etcd to sqlite", now); err != nil {
			t.Fatal(err)
		}
		check(lite)
		if err := Usable(t.Context(), net); err == nil {
			t.Error("etcd is in use after its records have moved")
		}
		if err := Usable(t.Context(), lite); err != nil {
			t.Errorf("back again: %v", err)
		}
	}
}

var errCut = errors.New("cut short")

// cutShort is a store that breaks at one call, before or after it has happened.
type cutShort struct {
	store.Importer
	at    int // the call that breaks
	after bool
	calls int
}

func (c *cutShort) do(f func() error) error {
	if c.calls++; c.calls != c.at {
		return f()
	}
	if c.after {
		if err := f(); err != nil {
			return err
		}
	}
	return errCut
}

func (c *cutShort) Update(ctx context.Context, f func(store.Tx) error) error {
	return c.do(func() error { return c.Importer.Update(ctx, f) })
}

func (c *cutShort) View(ctx context.Context, f func(store.Reader) error) error {
	return c.do(func() error { return c.Importer.View(ctx, f) })
}

func (c *cutShort) Import(ctx context.Context, w store.Whole, from string) error {
	return c.do(func() error { return c.Importer.Import(ctx, w, from) })
}

// TestCutShort: cut at any call, exactly one of the two stores can be used at most,
// none holds half, and the next try finishes.
func TestCutShort(t *testing.T) {
	cluster := etcdtest.Start(t, etcdtest.Options{})
	for _, side := range []string{"old", "new"} {
		for at := 1; at <= 4; at++ {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s store, call %d, after it %v", side, at, after), func(t *testing.T) {
					cfg := configs.DefaultManager()
					cfg.StateDir = t.TempDir()
					cfg.Etcd.Endpoints = cluster.Endpoints()
					cfg.Etcd.Prefix = "/" + filepath.Base(filepath.Dir(cfg.StateDir)) + "/" + filepath.Base(cfg.StateDir) + "/"
					lite, net := open(t, cfg, configs.StoreSQLite), open(t, cfg, configs.StoreEtcd)
					fill(t, lite)
					want, err := store.ReadWhole(t.Context(), lite)
					if err != nil {
						t.Fatal(err)
					}
					from, to := store.Importer(lite), store.Importer(net)
					if side == "old" {
						from = &cutShort{Importer: lite, at: at, after: after}
					} else {
						to = &cutShort{Importer: net, at: at, after: after}
					}
					_, err = Move(t.Context(), from, to, "here to there", now)
					if err != nil && !errors.Is(err, errCut) {
						t.Fatal(err)
					}
					cut := err != nil
					whole, err := store.ReadWhole(t.Context(), net)
					if err != nil {
						t.Fatal(err)
					}
					if n := whole.Records(); n != 0 && want.Differs(whole) != "" {
						t.Errorf("the new store holds half: %s", whole)
					} else if n > 0 && Usable(t.Context(), lite) == nil {
						t.Error("both stores can be used")
					}
					if !cut {
						return
					}
					_, err = Move(t.Context(), lite, net, "here to there", now)
					if mark, merr := markOf(t.Context(), lite); merr != nil || err != nil && !strings.HasPrefix(mark.Value, moved) {
						t.Fatalf("the second try: %v, %v", err, merr)
					}
					if whole, err = store.ReadWhole(t.Context(), net); err != nil || want.Differs(whole) != "" {
						t.Errorf("in the end: %v %s", err, want.Differs(whole))
					}
					if Usable(t.Context(), lite) == nil || Usable(t.Context(), net) != nil {
						t.Error("in the end the wrong store can be used")
					}
				})
			}
		}
	}
}
