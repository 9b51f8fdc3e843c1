package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vireo-kvm/vireo/store"
)

// hosts hold the claims.
var hosts = []string{"h1", "h2", "h3"}

// prepare enrols the hosts.
func prepare(ctx context.Context, s store.Store) error {
	return s.Update(ctx, func(tx store.Tx) error {
		for _, h := range hosts {
			if err := tx.PutHost(store.Host{Name: h, State: store.Healthy}); err != nil {
				return err
			}
		}
		return nil
	})
}

// swarm is a number of clients and what they were told.
type swarm struct {
	begun time.Time
	// at gives a client its store at this moment, nil when it has none.
	at func(client int) store.Store

	mu      sync.Mutex
	history []porcupine.Operation
	given   map[uint64]int // by epoch: how often it was given out
}

// run lets clients work until ctx ends.
func (s *swarm) run(ctx context.Context, clients, domains int, seed uint64) {
	s.begun, s.given = time.Now(), map[uint64]int{}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			known := map[string]uint64{} // epochs as last seen
			for ctx.Err() == nil {
				domain := fmt.Sprint("d", random.IntN(domains))
				st := s.at(client)
				if st == nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				in := input{domain: domain, verb: read}
				switch n := random.IntN(10); {
				case n < 4:
				case n < 9:
					in.verb, in.expected, in.holder = swap, known[domain], hosts[random.IntN(len(hosts))]
				default:
					in.verb, in.expected = release, known[domain]
				}
				call := time.Since(s.begun)
				out, happened := do(st, in)
				if happened {
					s.note(client, in, out, call)
				}
				switch {
				case !happened || out.unknown:
					time.Sleep(20 * time.Millisecond)
				case in.verb == read || in.verb == swap && !out.stale:
					known[domain] = out.epoch
				case in.verb == release && !out.stale:
					known[domain] = 0
				case out.stale: // look again
					known[domain] = 0
					if got, ok := do(st, input{verb: read, domain: domain}); ok && !got.unknown {
						known[domain] = got.epoch
					}
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
			}
		})
	}
	wg.Wait()
}

// forEver is when an operation ends whose client was not told.
const forEver = int64(1) << 62

func (s *swarm) note(client int, in input, out output, call time.Duration) {
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(call), Return: int64(time.Since(s.begun))}
	if out.unknown {
		if in.verb == read {
			return // says nothing
		}
		op.Return = forEver
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.verb == swap && !out.stale && !out.unknown {
		s.given[out.epoch]++
	}
	s.history = append(s.history, op)
}

// twice names an epoch that two operations were given, 0 for none.
func (s *swarm) twice() uint64 {
	for epoch, n := range s.given {
		if n > 1 {
			return epoch
		}
	}
	return 0
}

// do does one operation; happened is false when it certainly has not.
func do(s store.Store, in input) (out output, happened bool) {
	ctx := context.Background()
	var err error
	switch in.verb {
	case read:
		err = s.View(ctx, func(r store.Reader) error {
			out.epoch, out.holder = 0, ""
			c, err := r.Claim(in.domain)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			out.epoch, out.holder = c.Epoch, c.Holder
			return err
		})
	case swap:
		err = s.Update(ctx, func(tx store.Tx) (err error) {
			if out.epoch, err = tx.NextEpoch(); err != nil {
				return err
			}
			return tx.SwapClaim(in.expected, store.Claim{Domain: in.domain, Holder: in.holder, Phase: store.Held, Epoch: out.epoch})
		})
	case release:
		err = s.Update(ctx, func(tx store.Tx) error { return tx.DeleteClaim(in.domain, in.expected) })
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrStale):
		out = output{stale: true}
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrFenced):
		return out, false
	default:
		out.unknown = true
	}
	return out, true
}
