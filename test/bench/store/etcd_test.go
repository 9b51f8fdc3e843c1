package store

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

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
			claim := store.Claim{Domain: firstDomain, Name: "guest-0", Holder: "h0", Phase: store.Held, Seen: time.Unix(1, 0), Since: time.Unix(1, 0), GrantedBy: "adoption", MemoryKiB: 1 << 20}
			var through, beside []time.Duration
			for b.Loop() {
				began := time.Now()
				err := db.Update(b.Context(), func(tx store.Tx) (err error) {
					if claim.Epoch, err = tx.NextEpoch(); err != nil {
						return err
					}
					return tx.SwapClaim(epoch, claim)
				})
				if err != nil {
					b.Fatal(err)
				}
				through, epoch = append(through, time.Since(began)), claim.Epoch
				claim.Epoch++
				began = time.Now()
				bare.swap(b, claim)
				beside = append(beside, time.Since(began))
			}
			s, p := median(through), median(beside)
			b.ReportMetric(0, "ns/op") // of both together, which nobody asked for
			b.ReportMetric(float64(s.Microseconds()), "µs/swap")
			b.ReportMetric(float64(p.Microseconds()), "µs/bare")
			b.ReportMetric(100*float64(p)/float64(s), "%of-bare(≥70)")
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
	n := 0
	for b.Loop() {
		err := db.Update(b.Context(), func(tx store.Tx) error {
			for range 1000 {
				if _, err := grant(tx, n, 1); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "claims/s")
}
