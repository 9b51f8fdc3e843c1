package store

import (
	"slices"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// swaps changes the first domain's claim, which is at epoch, by turns through the
// store and by bare, and reports the medians and their ratio under the metric's
// name. bare is given the claim with an epoch of its own, so that both write the
// same.
func swaps(b *testing.B, db store.Store, epoch uint64, bare func(*testing.B, store.Claim), metric string) {
	claim := store.Claim{Domain: firstDomain, Name: "guest-0", Holder: "h0", Phase: store.Held,
		Seen: time.Unix(1, 0), Since: time.Unix(1, 0), GrantedBy: "adoption", MemoryKiB: 1 << 20}
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
		bare(b, claim)
		beside = append(beside, time.Since(began))
	}
	s, p := median(through), median(beside)
	b.ReportMetric(0, "ns/op") // of both together, which nobody asked for
	b.ReportMetric(float64(s.Microseconds()), "µs/swap")
	b.ReportMetric(float64(p.Microseconds()), "µs/bare")
	b.ReportMetric(100*float64(p)/float64(s), metric)
}

// grants gives out new claims in batches of 1,000 over so many hosts, and reports
// claims per second under the metric's name.
func grants(b *testing.B, db store.Store, hosts int, metric string) {
	n := 0
	for b.Loop() {
		err := db.Update(b.Context(), func(tx store.Tx) error {
			for range 1000 {
				if _, err := grant(tx, n, hosts); err != nil {
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
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), metric)
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}
