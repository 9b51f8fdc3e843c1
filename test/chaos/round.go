package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/test/lab"
)

// errNotNow is returned for a fault whose object is not there: a process that is
// just being started again, a guest that moves. It is tried again in a later round.
var errNotNow = errors.New("not possible now")

const (
	// again is the time between tries of what is not possible at once, tries their number.
	again = 500 * time.Millisecond
	tries = 8
	// slowly is the speed of a slow round's links: a guest's move takes five seconds.
	slowly = "200mbit"
)

// round does what a round says, and waits for rest.
func (r *runner) round(ctx context.Context, round Round) error {
	faults := round.Faults
	r.mu.Lock()
	kept := r.owed[:0]
	for _, f := range r.owed {
		// What was not possible in a round of one sort is tried in the next of it.
		if userFault(f.Kind) == (round.Empty == "") {
			faults = append(faults, f)
		} else {
			kept = append(kept, f)
		}
	}
	r.owed = kept
	r.mu.Unlock()

	if round.Empty != "" {
		round.Empty = r.inhabited(round.Empty)
	}
	if round.Empty == "" {
		r.say("round %d: a user's", round.Number)
	} else {
		r.say("round %d: %s is emptied%s", round.Number, round.Empty, map[bool]string{true: ", slowly"}[round.Slow])
		if err := r.begin(ctx, round); err != nil {
			return err
		}
	}
	begun := time.Now()
	var all sync.WaitGroup
	for _, f := range faults {
		all.Go(func() {
			pause(ctx, time.Until(begun.Add(f.At)))
			r.inject(ctx, round, f)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil
	}
	if err := r.heal(ctx); err != nil {
		return err
	}
	r.rep.Rounds++
	return r.rest(ctx, round)
}

// inhabited returns a host, or if it has no guest the next one that has: to empty
// an empty host hurts nobody.
func (r *runner) inhabited(host string) string {
	first := slices.IndexFunc(r.lab.Hosts, func(h lab.HostSpec) bool { return h.Name == host })
	for i := range r.lab.Hosts {
		if next := r.lab.Hosts[(first+i)%len(r.lab.Hosts)].Name; len(r.on(next)) > 0 {
			return next
		}
	}
	return host
}

func userFault(k Kind) bool { return k == MoveByHand || k == DoubleStart }

// begin orders the evacuation of a round.
func (r *runner) begin(ctx context.Context, round Round) error {
	if round.Slow {
		r.links.Lock()
		defer r.links.Unlock()
		for _, h := range r.lab.Hosts {
			if h.Name == round.Empty {
				continue
			}
			if err := r.lab.Shape(ctx, round.Empty, h.Name, slowly); err != nil {
				return err
			}
		}
	}
	// At rest the manager answers; an agent may just have lost it again.
	var err error
	for range tries {
		_, err = r.lab.Vireo(ctx, "evacuate", round.Empty, "--yes", "--detach", "--reason", fmt.Sprintf("chaos, round %d", round.Number))
		if err == nil {
			r.done(Evacuate)
			return nil
		}
		pause(ctx, again)
	}
	return ignoreEnd(ctx, err)
}

// heal undoes what is not undone yet.
func (r *runner) heal(ctx context.Context) error {
	r.links.Lock()
	defer r.links.Unlock()
	return ignoreEnd(ctx, r.lab.Heal(ctx))
}

// inject does one fault, and undoes it after its time.
func (r *runner) inject(ctx context.Context, round Round, f Fault) {
	var undo func(context.Context) error
	var err error
	for range tries {
		undo, err = r.do(ctx, round, f)
		if !errors.Is(err, errNotNow) || ctx.Err() != nil {
			break
		}
		pause(ctx, again)
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return
	case err != nil:
		r.say("%s: %v", f, err)
		r.mu.Lock()
		r.rep.NotPossible++
		r.owed = append(r.owed, f)
		r.mu.Unlock()
		return
	}
	r.done(f.Kind)
	if undo == nil {
		return
	}
	pause(ctx, f.Hold)
	// Also when the run is over: what is looked at then is not to be stopped or cut off.
	if err := undo(context.WithoutCancel(ctx)); err != nil {
		r.say("%s is not undone: %v", f, err)
	}
}

func (r *runner) done(k Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Done[k]++
}

// ignoreEnd drops errors that only say that the run is over.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
