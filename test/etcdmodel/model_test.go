package etcdmodel_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/storetest"
	"github.com/vireo-kvm/vireo/test/etcdmodel"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Place {
		c := etcdmodel.New()
		return func() (store.Store, error) { return c.Campaign("m1") }
	})
}

func set(s store.Store, value string) error {
	return s.Update(context.Background(), func(tx store.Tx) error { return tx.PutSetting(store.Setting{Key: "k", Value: value}) })
}

func get(s store.Store) (value string, err error) {
	err = s.View(context.Background(), func(r store.Reader) error {
		k, err := r.Setting("k")
		value = k.Value
		return err
	})
	return value, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func campaign(t *testing.T, c *etcdmodel.Cluster, name string) *etcdmodel.DB {
	t.Helper()
	db, err := c.Campaign(name)
	must(t, err)
	return db
}

func shows(t *testing.T, s store.Store, want string) {
	t.Helper()
	if got, err := get(s); err != nil || got != want {
		t.Errorf("it reads %q (%v), want %q", got, err, want)
	}
}

func TestOneLeads(t *testing.T) {
	c := etcdmodel.New()
	first := campaign(t, c, "m1")
	must(t, set(first, "1"))
	if _, err := c.Campaign("m2"); !errors.Is(err, etcdmodel.ErrHeld) {
		t.Fatalf("beside a leader: %v", err)
	}
	must(t, first.Close()) // gives the lead away
	second := campaign(t, c, "m2")
	shows(t, second, "1")
	if got, was := second.Identity(), first.Identity(); got.Term != was.Term+1 || got.Generation != was.Generation {
		t.Errorf("%+v follows %+v", got, was)
	}
	if l := c.Leader(); l.Name != "m2" || l.Term != second.Identity().Term {
		t.Errorf("the leader is %+v", l)
	}
}

// TestOvertaken: a leader whose lease has ended, and who does not know, writes and
// answers nothing, whether another leads or nobody does.
func TestOvertaken(t *testing.T) {
	for _, another := range []bool{false, true} {
		c := etcdmodel.New()
		old := campaign(t, c, "m1")
		must(t, set(old, "old"))
		old.EndLease()
		if !old.Leads() {
			t.Error("nobody has told it")
		}
		if another {
			next := campaign(t, c, "m2")
			if _, err := get(old); !errors.Is(err, store.ErrFenced) {
				t.Errorf("a leader that was overtaken has read: %v", err)
			}
			must(t, set(next, "next"))
		}
		if err := set(old, "late"); !errors.Is(err, store.ErrFenced) {
			t.Errorf("without a lease, another leads %t: %v", another, err)
		}
		if old.Leads() {
			t.Error("it was told, and leads")
		}
		if err := set(old, "later"); !errors.Is(err, store.ErrFenced) {
			t.Errorf("afterwards: %v", err)
		}
		must(t, old.Close())
		if another {
			if _, err := c.Campaign("m3"); !errors.Is(err, etcdmodel.ErrHeld) {
				t.Errorf("the overtaken one has given away the other's lead: %v", err)
			}
			continue
		}
		shows(t, campaign(t, c, "m2"), "old")
	}
}

// TestUnknown: a commit whose answer is lost leaves open whether it happened, and
// the lead is lost.
func TestUnknown(t *testing.T) {
	for network, want := range map[etcdmodel.Network]string{etcdmodel.Cut: "before", etcdmodel.Deaf: "after"} {
		c := etcdmodel.New()
		old := campaign(t, c, "m1")
		must(t, set(old, "before"))
		old.Network(network)
		if err := set(old, "after"); err == nil || errors.Is(err, store.ErrFenced) {
			t.Errorf("without an answer: %v", err)
		}
		old.Network(etcdmodel.Whole)
		if err := set(old, "late"); !errors.Is(err, store.ErrFenced) || old.Leads() {
			t.Errorf("afterwards: %v", err)
		}
		old.EndLease()
		shows(t, campaign(t, c, "m2"), want)
	}
}

// TestUnreachable: what reads from etcd fails as well, and a lead that cannot be
// given away stays until its lease ends.
func TestUnreachable(t *testing.T) {
	c := etcdmodel.New()
	old := campaign(t, c, "m1")
	must(t, set(old, "x"))
	old.Network(etcdmodel.Cut)
	if _, err := get(old); err == nil {
		t.Error("it has read without etcd")
	}
	must(t, old.Close())
	if !c.Held() {
		t.Error("the lead was given away without etcd")
	}
	old.EndLease()
	if c.Held() {
		t.Error("its lease has ended")
	}
	shows(t, campaign(t, c, "m1"), "x")
}
