package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

func mustOpen(t testing.TB, o etcd.Options) *etcd.DB {
	t.Helper()
	db, err := open(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func setting(value string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.PutSetting(store.Setting{Key: "k", Value: value}) }
}

func settingOf(t testing.TB, s store.Store) (value string) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		got, err := r.Setting("k")
		value = got.Value
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func update(t testing.TB, s store.Store, f func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// TestSecondWaits: one leads, the other waits and takes over with a higher term
// at once when the first gives up.
func TestSecondWaits(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	first := mustOpen(t, etcd.Options{Endpoints: cluster.Endpoints(), Address: "first"})
	update(t, first, setting("1"))
	other, err := etcd.Connect(t.Context(), etcd.Options{Endpoints: cluster.Endpoints(), Address: "second"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // longer than a lease
	defer cancel()
	if db, err := other.Campaign(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("beside a leader: %v %v", db, err)
	}
	if !first.Leads() {
		t.Fatal("the first leads no more")
	}
	leader := make(chan etcd.Leader, 8)
	wctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		other.Watch(wctx, func(l etcd.Leader) { leader <- l })
	}()
	defer func() { stop(); <-watched }()
	if l := <-leader; l.Address != "first" || l.Term != first.Identity().Term {
		t.Errorf("the watch says %+v leads", l)
	}

	begun := time.Now()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := other.Campaign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("a lead that was given away was taken after %v", took)
	}
	if got, want := second.Identity().Term, first.Identity().Term+1; got != want {
		t.Errorf("term %d, want %d", got, want)
	}
	if got := settingOf(t, second); got != "1" {
		t.Errorf("the second reads %q", got)
	}
	for l := range leader {
		if l.Address == "second" && l.Term == second.Identity().Term {
			break
		}
	}
}

// TestOvertaken: a leader whose lease has gone, and who does not know, writes
// nothing and answers nothing.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, cluster.Nodes()[0].Address())
	old := mustOpen(t, etcd.Options{Endpoints: []string{proxy.Endpoint()}})
	update(t, old, setting("old"))
	proxy.Partition(true)
	begun := time.Now()
	next := mustOpen(t, etcd.Options{Endpoints: cluster.Endpoints()})
	if old.Leads() {
		t.Error("two lead")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the lead of one that was cut off was taken after %v", took)
	}
	update(t, next, setting("next"))
	proxy.Partition(false)
	if err := old.Update(t.Context(), setting("late")); err == nil {
		t.Error("a leader that was overtaken has written")
	}
	if err := old.View(t.Context(), func(store.Reader) error { return nil }); err == nil {
		t.Error("a leader that was overtaken has read")
	}
	if got := settingOf(t, next); got != "next" {
		t.Errorf("the setting is %q", got)
	}
}

// TestFencedByTerm: the key of the election goes, as when a lease ends while the
// leader believes in it.
func TestFencedByTerm(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	old := mustOpen(t, etcd.Options{Endpoints: cluster.Endpoints()})
	update(t, old, setting("old"))
	e := cluster.Client()
	defer e.Close()
	if _, err := e.Delete(t.Context(), "/vireo/leader/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if err := old.Update(t.Context(), setting("without a key")); !errors.Is(err, store.ErrFenced) {
		t.Errorf("without its key in the election: %v", err)
	}
	next := mustOpen(t, etcd.Options{Endpoints: cluster.Endpoints()})
	if err := old.View(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrFenced) {
		t.Errorf("view of an overtaken leader: %v", err)
	}
	if got := settingOf(t, next); got != "old" {
		t.Errorf("the setting is %q", got)
	}
}

// TestLostAnswers: an update whose answers are lost happens once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, cluster.Nodes()[0].Address())
	db := mustOpen(t, etcd.Options{Endpoints: []string{proxy.Endpoint()}})
	for round := range 3 {
		proxy.SwallowAnswers(true)
		time.AfterFunc(time.Second, func() { proxy.SwallowAnswers(false) })
		update(t, db, func(tx store.Tx) error {
			_, err := tx.AppendEvent(store.Event{Kind: "test", Severity: store.Info, Text: fmt.Sprint(round)})
			return err
		})
	}
	err := db.View(t.Context(), func(r store.Reader) error {
		all, err := r.Events(store.EventFilter{})
		if len(all) != 3 || all[2].ID != 3 {
			t.Errorf("events %+v", all)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMajority: with a minority of etcd away everything goes on; with a majority
// away nothing is written and nothing answered, and all is there afterwards.
func TestMajority(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{Nodes: 3})
	// etcd may have to elect a leader first, which on a busy machine takes longer
	// than the default lease lasts: then another manager takes over, rightly.
	o := etcd.Options{Endpoints: cluster.Endpoints(), TTL: 5 * time.Second}
	db := mustOpen(t, o)
	update(t, db, setting("all"))
	nodes := cluster.Nodes()
	nodes[0].Kill()
	update(t, db, setting("two"))
	if !db.Leads() {
		t.Error("the lead was lost with a minority")
	}
	nodes[1].Freeze()
	begun := time.Now()
	if err := db.Update(t.Context(), setting("one")); err == nil {
		t.Error("one of three has written")
	}
	if took := time.Since(begun); took > 2*o.TTL {
		t.Errorf("it took %v to find out", took)
	}
	if err := db.View(t.Context(), func(store.Reader) error { return nil }); err == nil {
		t.Error("one of three has answered")
	}
	for db.Leads() {
		if time.Since(begun) > o.TTL {
			t.Fatal("it leads without a majority after its lease is over")
		}
		time.Sleep(10 * time.Millisecond)
	}
	nodes[1].Thaw()
	nodes[0].Start()
	next := mustOpen(t, o)
	// "one" was refused, but could have got to the others before they went.
	if got := settingOf(t, next); got != "two" && got != "one" {
		t.Errorf("after the majority came back the setting is %q", got)
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	memory := filepath.Join(t.TempDir(), "etcd.json")
	o := etcd.Options{Endpoints: cluster.Endpoints(), Memory: memory}
	db := mustOpen(t, o)
	update(t, db, setting("mine"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, o) // the same one is let in
	was := db.Identity()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, o etcd.Options) {
		t.Helper()
		db, err := open(t, o)
		if !errors.Is(err, store.ErrForeign) {
			t.Fatalf("%s: %v %v", what, db, err)
		}
		if !strings.Contains(err.Error(), memory) {
			t.Errorf("%s: the error does not say what to do: %v", what, err)
		}
	}
	refused("another prefix", etcd.Options{Endpoints: o.Endpoints, Memory: memory, Prefix: "/other/"})
	other := etcdtest.Start(t, etcdtest.Options{})
	refused("another cluster", etcd.Options{Endpoints: other.Endpoints(), Memory: memory})
	// The same cluster by its id, without its data.
	cluster.Nodes()[0].Wipe()
	cluster.Nodes()[0].Start()
	cluster.Wait()
	refused("an empty data directory", o)
	empty := mustOpen(t, etcd.Options{Endpoints: o.Endpoints}) // somebody else's beginning
	if err := empty.Close(); err != nil {
		t.Fatal(err)
	}
	refused("somebody else's data", o)

	// Accepted on purpose: in a generation after all that agents may have seen.
	o.Renew = true
	renewed := mustOpen(t, o)
	if id := renewed.Identity(); id.Generation <= was.Generation {
		t.Errorf("renewed: %+v after %+v", id, was)
	}
	if err := renewed.Close(); err != nil {
		t.Fatal(err)
	}
	o.Renew = false
	db = mustOpen(t, o)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(memory, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, o); err == nil || !strings.Contains(err.Error(), memory) {
		t.Errorf("a broken memory: %v", err)
	}
}

// TestOlder: etcd was brought back to an older state behind our back.
func TestOlder(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	o := etcd.Options{Endpoints: cluster.Endpoints(), Memory: filepath.Join(t.TempDir(), "etcd.json")}
	e := cluster.Client()
	defer e.Close()
	var old *clientv3.GetResponse
	var was store.Identity
	for i := range 3 {
		db := mustOpen(t, o)
		update(t, db, setting("x"))
		was = db.Identity()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			var err error
			if old, err = e.Get(t.Context(), "/vireo/head"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := e.Put(t.Context(), "/vireo/head", string(old.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	db := mustOpen(t, o)
	if id := db.Identity(); id.Generation <= was.Generation || id.Term <= was.Term {
		t.Errorf("%+v after %+v", id, was)
	}
	err := db.View(t.Context(), func(r store.Reader) error {
		last, err := r.LastEpoch()
		if last < store.EpochLeap {
			t.Errorf("epochs go on at %d", last)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewerAndDamaged(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	e := cluster.Client()
	defer e.Close()
	for value, want := range map[string]error{`{"format": 99, "store": "s"}`: store.ErrNewer, `{"format`: store.ErrCorrupt} {
		if _, err := e.Put(t.Context(), "/vireo/head", value); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, etcd.Options{Endpoints: cluster.Endpoints()}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", value, err, want)
		}
	}
}

// TestFull: etcd without room refuses, nothing is lost, and once there is room
// the same update succeeds.
func TestFull(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{Quota: 8 << 20})
	db := mustOpen(t, etcd.Options{Endpoints: cluster.Endpoints()})
	update(t, db, setting("before"))
	big := strings.Repeat("x", 400<<10)
	fill := func(n int) error {
		return db.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutSetting(store.Setting{Key: "fill", Value: fmt.Sprint(n) + big})
		})
	}
	n := 0
	for ; n < 100; n++ {
		if err := fill(n); errors.Is(err, store.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n == 100 {
		t.Fatal("it was never full")
	}
	if err := db.Update(t.Context(), setting("while full")); !errors.Is(err, store.ErrFull) {
		t.Errorf("while full: %v", err)
	}
	if got := settingOf(t, db); got != "before" {
		t.Errorf("while full the setting is %q", got)
	}
	e := cluster.Client()
	defer e.Close()
	now, err := e.Get(t.Context(), "/vireo/head")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Defragment(t.Context(), cluster.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	update(t, db, setting("after"))
	if got := settingOf(t, db); got != "after" {
		t.Errorf("with room again the setting is %q", got)
	}
}
