package chaos

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

const (
	lookEvery  = 150 * time.Millisecond
	hearEvery  = 500 * time.Millisecond
	claimEvery = time.Second
	// patience is how long a manager that is stopped or cut off is waited for.
	patience = 2 * time.Second
)

// watch looks at everything until ctx is done.
func (r *runner) watch(ctx context.Context) {
	names := map[string]string{}
	for _, g := range r.lab.Guests {
		names[g.UUID] = g.Name
	}
	e := newEyes(names)
	var heard, asked time.Time
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		seen, took := e.look()
		now := time.Now()
		r.mu.Lock()
		r.seen = seen
		wrong := r.judge.processes(now, slices.Clone(seen), took)
		r.mu.Unlock()
		if now.Sub(heard) >= hearEvery {
			heard = now
			wrong = append(wrong, r.hear(ctx)...)
		}
		if now.Sub(asked) >= claimEvery {
			asked = now
			go r.askClaims(ctx)
		}
		r.violated(wrong...)
	}
}

// hear asks the receiver of the beats.
func (r *runner) hear(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.hearing.Lock() // what was asked for first is judged first
	defer r.hearing.Unlock()
	guests, err := r.lab.Heartbeats().Guests(ctx)
	if err != nil {
		return nil // the run is over; else the next one tells
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.heard(guests)
}

// askClaims asks the manager, if it answers.
func (r *runner) askClaims(ctx context.Context) {
	if !r.asking.TryLock() {
		return
	}
	defer r.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	claims, err := r.claims(ctx)
	if err != nil {
		return
	}
	r.mu.Lock()
	wrong := r.judge.claims(claims)
	r.mu.Unlock()
	r.violated(wrong...)
}

func (r *runner) claims(ctx context.Context) ([]*managerv1.Claim, error) {
	api, err := r.lab.API()
	if err != nil {
		return nil, err
	}
	res, err := api.ListClaims(ctx, connect.NewRequest(&managerv1.ListClaimsRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetClaims(), nil
}

// copies returns the processes of a guest as last seen.
func (r *runner) copies(guest string) (out []process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s.Guest == guest {
			out = append(out, s.process)
		}
	}
	return out
}

// on returns the processes on a host as last seen.
func (r *runner) on(host string) (out []process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s.Host == host {
			out = append(out, s.process)
		}
	}
	return out
}
