package store

import (
	"encoding/json"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// BenchmarkEtcdClaimSwap changes one claim, by turns through the store and by a bare
// transaction that is fenced by a term's key and writes a claim and the counter of
// epochs: the same etcd, which waits for its disk.
func BenchmarkEtcdClaimSwap(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		b.Run(fmt.Sprintf("%d nodes", nodes), func(b *testing.B) {
			cluster := etcdtest.Start(b, etcdtest.Options{Nodes: nodes, Durable: true})
			db, err := etcd.Open(b.Context(), etcd.Options{Endpoints: cluster.Endpoints()})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			var epoch uint64
			err = db.Update(b.Context(), func(tx store.Tx) (err error) {
				if err := tx.PutHost(store.Host{Name: "h0", State: store.Healthy}); err != nil {
					return err
				}
				epoch, err = grant(tx, 0, 1)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			bare := newBareEtcd(b, cluster)
			swaps(b, db, epoch, bare.swap, "%of-bare(≥70)")
		})
	}
}

// bareEtcd is etcd without a store around it.
type bareEtcd struct {
	client         *clientv3.Client
	term, revision int64 // revisions of the fence and of the claim
}

func newBareEtcd(b *testing.B, cluster *etcdtest.Cluster) *bareEtcd {
	b.Helper()
	x := &bareEtcd{client: cluster.Client()}
	b.Cleanup(func() { x.client.Close() })
	put, err := x.client.Put(b.Context(), "/bare/term", "1")
	if err != nil {
		b.Fatal(err)
	}
	x.term = put.Header.Revision
	return x
}

func (x *bareEtcd) swap(b *testing.B, claim store.Claim) {
	value, err := json.Marshal(claim)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := x.client.Txn(b.Context()).If(
		clientv3.Compare(clientv3.ModRevision("/bare/term"), "=", x.term),
		clientv3.Compare(clientv3.ModRevision("/bare/claim"), "=", x.revision),
	).Then(
		clientv3.OpPut("/bare/epoch", fmt.Sprint(claim.Epoch)),
		clientv3.OpPut("/bare/claim", string(value)),
	).Commit()
	if err != nil || !resp.Succeeded {
		b.Fatal(resp, err)
	}
	x.revision = resp.Header.Revision
}

// BenchmarkEtcdGrants is new claims, granted in batches of 1,000: each batch takes
// more than one request, and counts all at once.
func BenchmarkEtcdGrants(b *testing.B) {
	cluster := etcdtest.Start(b, etcdtest.Options{Durable: true})
	db, err := etcd.Open(b.Context(), etcd.Options{Endpoints: cluster.Endpoints()})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(b.Context(), func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h0", State: store.Healthy}) }); err != nil {
		b.Fatal(err)
	}
	grants(b, db, 1, "claims/s")
}
