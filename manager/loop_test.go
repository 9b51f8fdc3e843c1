package manager

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestDoOutlivesNoCaller: what a request does in the loop is over when the
// request returns, also when its caller has gone.
func TestDoOutlivesNoCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Manager{inbox: make(chan func(time.Time), inboxSize), ended: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		let, written := make(chan struct{}), false
		first := make(chan error, 1)
		go func() { first <- m.do(ctx, func(time.Time) { <-let; written = true }) }()
		waits := make(chan error, 1)
		synctest.Wait()
		go func() { waits <- m.do(ctx, func(time.Time) { t.Error("served although its caller has gone") }) }()
		synctest.Wait()

		loop := make(chan struct{})
		go func() {
			defer close(loop)
			for range 2 {
				(<-m.inbox)(time.Time{})
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err := <-waits; !errors.Is(err, context.Canceled) {
			t.Errorf("the one that waited: %v", err)
		}
		select {
		case err := <-first:
			t.Fatalf("returned (%v) while its work was going on", err)
		default:
		}
		close(let)
		if err := <-first; err != nil || !written {
			t.Errorf("%v, written %t", err, written)
		}
		<-loop
	})
}
