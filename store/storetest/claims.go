package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/vireo-kvm/vireo/store"
)

// next is a claim of d by h1 with the next epoch.
func next(tx store.Tx, domain string) (store.Claim, error) {
	epoch, err := tx.NextEpoch()
	return store.Claim{Domain: domain, Holder: "h1", Phase: store.Held, Epoch: epoch}, err
}

func testClaims(t *testing.T, f *fixture) {
	f.hosts("h1")
	var first, second store.Claim
	f.update(func(tx store.Tx) (err error) {
		if first, err = next(tx, "d"); err != nil {
			return err
		}
		return tx.SwapClaim(0, first)
	})
	f.refused(store.ErrStale, func(tx store.Tx) error { // it exists
		c, err := next(tx, "d")
		return errors.Join(err, tx.SwapClaim(0, c))
	})
	f.refused(store.ErrStale, func(tx store.Tx) error { // another does not
		other, err1 := tx.NextEpoch()
		c, err2 := next(tx, "e")
		return errors.Join(err1, err2, tx.SwapClaim(other, c))
	})
	f.refused(store.ErrInvalid, func(tx store.Tx) error { return tx.SwapClaim(first.Epoch, first) }) // not a new epoch
	f.refused(store.ErrInvalid, func(tx store.Tx) error {                                            // never given out
		c, err := next(tx, "d")
		c.Epoch++
		return errors.Join(err, tx.SwapClaim(first.Epoch, c))
	})
	f.update(func(tx store.Tx) (err error) {
		if second, err = next(tx, "d"); err != nil {
			return err
		}
		second.Phase = store.Ambiguous
		return tx.SwapClaim(first.Epoch, second)
	})
	f.refused(store.ErrStale, func(tx store.Tx) error { // overtaken
		c, err := next(tx, "d")
		return errors.Join(err, tx.SwapClaim(first.Epoch, c))
	})
	f.refused(store.ErrStale, func(tx store.Tx) error { return tx.DeleteClaim("d", first.Epoch) })
	f.refused(store.ErrStale, func(tx store.Tx) error { return tx.DeleteClaim("e", second.Epoch) })
	f.view(func(r store.Reader) error {
		got, err := r.Claim("d")
		same(t, "claim", got, second)
		return err
	})
	f.update(func(tx store.Tx) error { return tx.DeleteClaim("d", second.Epoch) })
	f.refused(store.ErrStale, func(tx store.Tx) error { return tx.DeleteClaim("d", second.Epoch) })
}

func testEpochs(t *testing.T, f *fixture) {
	f.hosts("h1")
	var last uint64
	grow := func() {
		t.Helper()
		f.update(func(tx store.Tx) error {
			c, err := next(tx, "d")
			if c.Epoch <= last {
				t.Errorf("epoch %d follows %d", c.Epoch, last)
			}
			last = c.Epoch
			return errors.Join(err, tx.SwapClaim(0, c), tx.DeleteClaim("d", c.Epoch))
		})
	}
	grow()
	grow()
	f.reopen()
	grow()
	undo := errors.New("undo")
	var lost uint64
	f.refused(undo, func(tx store.Tx) (err error) {
		lost, err = tx.NextEpoch()
		return errors.Join(err, undo)
	})
	f.refused(store.ErrInvalid, func(tx store.Tx) error { // what was rolled back was not given out
		return tx.SwapClaim(0, store.Claim{Domain: "d", Holder: "h1", Phase: store.Held, Epoch: lost})
	})
	if _, err := f.NewGeneration(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	before := last
	grow() // also in a new generation, far above any that the old one can have given out
	if last < before+store.EpochLeap {
		t.Errorf("epoch %d follows %d over a new generation", last, before)
	}
	f.view(func(r store.Reader) error {
		got, err := r.LastEpoch()
		if got != last {
			t.Errorf("last epoch %d, given out %d", got, last)
		}
		return err
	})
}

// testRacingClaims: each writer reads the claim in one transaction and changes
// it in another. Whoever was overtaken must be told so, and nobody else.
func testRacingClaims(t *testing.T, f *fixture) {
	f.hosts("h1")
	const writers, rounds = 6, 20
	type change struct{ from, to uint64 }
	var mu sync.Mutex
	var won []change
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				var have uint64
				err := f.View(context.Background(), func(r store.Reader) error {
					c, err := r.Claim("d")
					have = c.Epoch
					if errors.Is(err, store.ErrNotFound) {
						have, err = 0, nil
					}
					return err
				})
				if err != nil {
					t.Errorf("view: %v", err)
					return
				}
				var c store.Claim
				err = f.Update(context.Background(), func(tx store.Tx) (err error) {
					if c, err = next(tx, "d"); err != nil {
						return err
					}
					return tx.SwapClaim(have, c)
				})
				switch {
				case err == nil:
					mu.Lock()
					won = append(won, change{have, c.Epoch})
					mu.Unlock()
				case !errors.Is(err, store.ErrStale):
					t.Errorf("swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	// The changes are one chain from nothing to the claim as it is now.
	follows := make(map[uint64]uint64)
	for _, c := range won {
		if other, ok := follows[c.from]; ok {
			t.Fatalf("both epochs %d and %d followed %d", other, c.to, c.from)
		}
		follows[c.from] = c.to
	}
	var epoch uint64
	steps := 0
	for to, ok := follows[0]; ok; to, ok = follows[epoch] {
		epoch = to
		steps++
	}
	f.view(func(r store.Reader) error {
		c, err := r.Claim("d")
		if c.Epoch != epoch || steps != len(won) {
			t.Errorf("claim at epoch %d; chain of %d changes ends at %d, %d were acknowledged", c.Epoch, steps, epoch, len(won))
		}
		return err
	})
}
