package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

func openHere(t *testing.T, cluster *etcdtest.Cluster) *DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	db, err := Open(ctx, Options{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

const manyHosts = 1000

// many is more than one transaction takes, by number and by size.
func many(tx store.Tx) error {
	for i := range manyHosts {
		h := store.Host{Name: fmt.Sprintf("h%04d", i), State: store.Healthy, Facts: store.Facts{CPUXML: string(bytes.Repeat([]byte("x"), 3000))}}
		if err := tx.PutHost(h); err != nil {
			return err
		}
	}
	return nil
}

func hostsOf(t *testing.T, db *DB) (n int) {
	t.Helper()
	err := db.View(t.Context(), func(r store.Reader) error {
		all, err := r.Hosts()
		n = len(all)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// leftStaged counts the parts that etcd still has.
func leftStaged(t *testing.T, cluster *etcdtest.Cluster) int64 {
	t.Helper()
	e := cluster.Client()
	defer e.Close()
	resp, err := e.Get(t.Context(), DefaultPrefix+stagedKeys, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func TestLargeUpdate(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	db := openHere(t, cluster)
	if err := db.Update(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if n := hostsOf(t, db); n != manyHosts {
		t.Errorf("%d hosts", n)
	}
	if n := leftStaged(t, cluster); n != 0 {
		t.Errorf("%d parts are left", n)
	}
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteHost("h0007") }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := hostsOf(t, openHere(t, cluster)); n != manyHosts-1 {
		t.Errorf("%d hosts after reopening", n)
	}
}

// TestLargeUpdateCutShort: the leader dies at each moment of a large update. Before
// head names the parts nothing has happened, from then on all of it has.
func TestLargeUpdateCutShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		until func(db *DB, h head, changes []change) error
		want  int
	}{
		{"before it counts", func(db *DB, h head, changes []change) error {
			var errs []error
			for n, p := range packChanges(changes) {
				errs = append(errs, db.write(t.Context(), []change{{stagedPart(n), p}}))
			}
			return errors.Join(errs...)
		}, 0},
		{"when it counts", func(db *DB, h head, changes []change) error {
			_, err := db.commit(h, changes)
			return err
		}, manyHosts},
		{"half in its place", func(db *DB, h head, changes []change) error {
			_, err1 := db.commit(h, changes)
			return errors.Join(err1, db.write(t.Context(), bundles(changes)[0]), db.write(t.Context(), bundles(changes)[2]))
		}, manyHosts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.Start(t, etcdtest.Options{})
			db := openHere(t, cluster)
			tx := newTx(db.state(), nil)
			if err := many(tx); err != nil {
				t.Fatal(err)
			}
			tx.head.Serial++
			if err := tt.until(db, tx.head, sorted(tx.changes)); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			next := openHere(t, cluster)
			if n := hostsOf(t, next); n != tt.want {
				t.Errorf("%d hosts, want %d", n, tt.want)
			}
			// The next update finishes the work, and does not undo it.
			if err := next.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "z", State: store.Watch}) }); err != nil {
				t.Fatal(err)
			}
			if err := next.Close(); err != nil {
				t.Fatal(err)
			}
			if tt.want > 0 {
				if n := leftStaged(t, cluster); n != 0 {
					t.Errorf("%d parts are left", n)
				}
			}
			if n := hostsOf(t, openHere(t, cluster)); n != tt.want+1 {
				t.Errorf("%d hosts in the end", n)
			}
		})
	}
}

func TestPackedChanges(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var all []change
	for i := range 500 {
		c := change{key: fmt.Sprint("k", i)}
		if i%7 != 0 {
			c.value = make([]byte, random.IntN(5000))
		}
		all = append(all, c)
	}
	var got []change
	parts := packChanges(all)
	for _, p := range parts {
		if len(p) > partSize {
			t.Errorf("a part has %d bytes", len(p))
		}
		changes, err := unpackChanges(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, changes...)
	}
	if len(parts) < 2 || !reflect.DeepEqual(got, all) {
		t.Errorf("%d changes in %d parts came back as %d", len(all), len(parts), len(got))
	}
	for n := range 40 { // cut anywhere: an error, not a panic
		if _, err := unpackChanges(parts[0][:n]); n > 0 && err == nil && n != 2+1 {
			if got, _ := unpackChanges(parts[0][:n]); len(got) == 0 {
				t.Errorf("cut after %d bytes: no error", n)
			}
		}
	}
}

func TestLargeEvidence(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	db := openHere(t, cluster)
	evidence := make([]byte, 4<<20)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(evidence) // does not compress
	d := store.Decision{ID: "x/y", Kind: store.DecideHold, Status: store.Waiting, Evidence: evidence}
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.PutDecision(d) }); err != nil {
		t.Fatal(err)
	}
	err := db.View(t.Context(), func(r store.Reader) error {
		got, err := r.Decision("x/y")
		if !bytes.Equal(got.Evidence, evidence) {
			t.Error("the evidence has changed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	huge := store.Host{Name: "h", State: store.Healthy, Facts: store.Facts{CPUXML: string(make([]byte, maxValue))}}
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(huge) }); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a record that fits into no request: %v", err)
	}
}

// TestCompact: what records were before is forgotten, what they are is not.
func TestCompact(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	db := openHere(t, cluster)
	var early int64
	for i := range 20 {
		h := store.Host{Name: "h", State: store.Healthy, StateReason: fmt.Sprint(i)}
		if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(h) }); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			var err error
			if early, err = db.settled(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	db.compact(t.Context(), early)
	e := cluster.Client()
	defer e.Close()
	if _, err := e.Get(t.Context(), DefaultPrefix+headKey, clientv3.WithRev(early-1)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("what was before: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := hostsOf(t, openHere(t, cluster)); n != 1 {
		t.Errorf("%d hosts", n)
	}
}
