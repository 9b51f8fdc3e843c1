package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/test/lab"
)

// Options says what run to make.
type Options struct {
	Seed uint64
	For  time.Duration // no round begins later
	Keep bool          // leave the lab up
	// Store is "sqlite", with one manager, or "etcd", with three and a cluster.
	Store string
	// Hook is the mode of libvirt's hook: "enforce" refuses what users may not
	// start, without it that has to be noticed.
	Hook string
	// Bin is the directory of the programs; "": found by lab.FindBin.
	Bin string
	Out io.Writer // told what happens, a line at a time
}

// The fleet of a run.
const (
	hosts    = 3
	guests   = 4
	managers = 3 // with etcd
)

// Run makes a lab, hurts it, and takes it away. The error says that the run
// could not be made or was interrupted; what it found is in the report.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	fleet := lab.Options{
		Hosts: hosts, Guests: guests, ShortKeepalive: true, Store: o.Store, Hook: o.Hook, Bin: o.Bin,
		Say: func(s string) { fmt.Fprintln(o.Out, "up:", s) },
	}
	if o.Store == configs.StoreEtcd {
		fleet.Managers = managers
	}
	fmt.Fprintf(o.Out, "seed %d, for %s\n", o.Seed, o.For)
	l, err := lab.Up(ctx, fleet)
	if err != nil {
		return nil, err
	}
	if !o.Keep {
		defer func() { err = errors.Join(err, l.Down()) }()
	}
	r := newRunner(l, o)
	return r.run(ctx)
}

// runner is one run.
type runner struct {
	lab   *lab.Lab
	o     Options
	began time.Time
	rep   *Report

	links           sync.Mutex // the lab's links are changed by one at a time
	asking, hearing sync.Mutex // the manager, and the receiver, are asked by one at a time: an older answer never comes after a newer one

	mu      sync.Mutex // of what follows
	judge   *judge
	history []string
	wrong   []string  // violations
	seen    []reading // the last look
	owed    []Fault   // what was not possible when it should have been done
	stop    func()    // ends the run
}

func newRunner(l *lab.Lab, o Options) *runner {
	return &runner{
		lab: l, o: o, began: time.Now(), judge: newJudge(),
		rep: &Report{Seed: o.Seed, Store: l.Options.Store, Hook: l.Options.Hook, Done: map[Kind]int{}}, stop: func() {},
	}
}

func (r *runner) run(ctx context.Context) (*Report, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	r.stop = stop
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(running) })
	names := func(n int, name func(int) string) (out []string) {
		for i := range n {
			out = append(out, name(i))
		}
		return out
	}
	schedule := NewSchedule(r.o.Seed,
		names(len(r.lab.Hosts), func(i int) string { return r.lab.Hosts[i].Name }),
		names(len(r.lab.Guests), func(i int) string { return r.lab.Guests[i].Name }), r.etcd())
	var err error
	for time.Since(r.began) < r.o.For && running.Err() == nil {
		if err = r.round(running, schedule.Next()); err != nil {
			break
		}
	}
	wrong := r.violations()
	stop()
	watching.Wait()
	r.rep.Took = time.Since(r.began).Round(time.Second)
	if len(wrong) > 0 {
		r.evidence(context.WithoutCancel(ctx))
		r.mu.Lock()
		r.rep.Violations, r.rep.History = r.wrong, r.history
		r.mu.Unlock()
		return r.rep, nil
	}
	r.count(context.WithoutCancel(ctx))
	return r.rep, errors.Join(err, ctx.Err())
}

func (r *runner) etcd() bool { return r.lab.Options.Store == configs.StoreEtcd }

// say adds a line to the history and prints it.
func (r *runner) say(format string, args ...any) {
	line := fmt.Sprintf("%6.1fs  %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, line)
	const kept = 400
	if n := len(r.history) - kept; n > 0 {
		r.history = slices.Delete(r.history, 0, n)
	}
	fmt.Fprintln(r.o.Out, line)
}

// violated notes what must not be, and ends the run.
func (r *runner) violated(wrong ...string) {
	for _, w := range wrong {
		r.say("VIOLATION: %s", w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(wrong) > 0 {
		r.wrong = append(r.wrong, wrong...)
		r.stop()
	}
}

func (r *runner) violations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wrong)
}

// pause lets the fleet go on for a while: real processes, real time.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
