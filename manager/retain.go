package manager

import (
	"context"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// How long events are kept: what happened, and what people did.
const (
	keepEvents  = 90 * 24 * time.Hour
	keepAudit   = 2 * 366 * 24 * time.Hour
	forgetBatch = 2000 // in one transaction, so that claims never wait long
)

// forgetEvents deletes events that are too old to explain anything.
func forgetEvents(st store.Store, now time.Time) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for {
			var n int
			err := st.Update(ctx, func(tx store.Tx) (err error) {
				n, err = tx.DeleteEvents(now.Add(-keepEvents), now.Add(-keepAudit), forgetBatch)
				return err
			})
			if err != nil || n < forgetBatch {
				return err
			}
		}
	}
}
