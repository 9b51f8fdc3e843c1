package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// A Collector reads one kind of thing. Collect is called again only after it
// has returned; what it read before an error counts. It stops early when ctx
// ends if it can.
type Collector interface {
	Name() string // a short word: "smart", "cpu", …
	Collect(ctx context.Context, now time.Time) (agent.Collected, error)
}

// ErrAbsent is what a collector returns when the host has nothing of its kind.
var ErrAbsent = errors.New("not there")

// Job is a collector and when it runs: at once, then every Interval, counted
// from one start to the next, and whenever Wake says so.
type Job struct {
	Collector Collector
	Interval  time.Duration
	Timeout   time.Duration   // after which it counts as failed, and is left alone
	Wake      <-chan struct{} // nil: never out of turn
}

// Run runs all jobs until ctx ends. deliver is called from one goroutine at a
// time. Run does not wait for a collector that hangs.
func Run(ctx context.Context, clock agent.Clock, log *slog.Logger, jobs []Job, deliver func(agent.Collected)) {
	var mu sync.Mutex
	out := func(c agent.Collected) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			deliver(c)
		}
	}
	var all sync.WaitGroup
	for _, j := range jobs {
		all.Go(func() { j.run(ctx, clock, log, out) })
	}
	all.Wait()
}

func (j Job) run(ctx context.Context, clock agent.Clock, log *slog.Logger, out func(agent.Collected)) {
	last := "" // what was logged, so that a lasting failure is logged once
	for ctx.Err() == nil {
		begun := clock.Now()
		next, stopNext := clock.After(j.Interval)
		work, cancel := context.WithCancel(ctx)
		done := make(chan outcome, 1)
		go func() {
			c, err := j.Collector.Collect(work, begun)
			done <- outcome{Collected: c, err: err}
		}()
		late, stopLate := clock.After(j.Timeout)

		var o outcome
		select {
		case o = <-done:
			stopLate()
		case <-late:
			cancel()
			o.err = fmt.Errorf("no answer within %s; left alone until it ends", j.Timeout)
			o.hangs = true
		case <-ctx.Done():
			o.err = ctx.Err()
		}
		out(o.collected(j.Collector.Name(), begun))
		last = o.log(log, j.Collector.Name(), last)
		if o.hangs {
			// What it says at last is as old as its start: not reported.
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		cancel()
		select {
		case <-next:
		case <-j.Wake:
		case <-ctx.Done():
		}
		stopNext()
	}
}

type outcome struct {
	agent.Collected
	err   error
	hangs bool
}

// collected adds the reading about the collector itself.
func (o outcome) collected(name string, at time.Time) agent.Collected {
	r := signal.Reading{Component: "collector:" + name, Signal: signal.CollectorOK, ObservedAt: at, Status: signal.OK}
	switch {
	case o.err == nil:
		r.Value = new(1.0)
	case errors.Is(o.err, ErrAbsent):
		// It has done its work: there is nothing to read.
		r.Value, r.Text = new(1.0), o.err.Error()
	default:
		r.Status, r.Text = signal.Failed, o.err.Error()
	}
	o.Readings = append(o.Readings, r)
	return o.Collected
}

func (o outcome) log(log *slog.Logger, name, last string) string {
	switch {
	case o.err == nil || errors.Is(o.err, ErrAbsent):
		if last != "" {
			log.Info("collector works again", "collector", name)
		}
		return ""
	case errors.Is(o.err, context.Canceled):
		return last
	case o.err.Error() != last:
		log.Warn("collector failed", "collector", name, "error", o.err)
	}
	return o.err.Error()
}

// readings gathers what one look at the host gives.
type readings struct {
	at   time.Time
	list []signal.Reading
}

func (r *readings) value(component, name string, v float64) {
	r.add(signal.Reading{Component: component, Signal: name, Value: &v, Status: signal.OK})
}

func (r *readings) text(component, name, text string) {
	if text == "" {
		r.absent(component, name)
		return
	}
	r.add(signal.Reading{Component: component, Signal: name, Text: text, Status: signal.OK})
}

func (r *readings) verdict(component, name string, good bool, text string) {
	v := 0.0
	if good {
		v = 1
	}
	r.add(signal.Reading{Component: component, Signal: name, Value: &v, Text: text, Status: signal.OK})
}

// maybe is value, or absent when v is nil.
func (r *readings) maybe(component, name string, v *float64) {
	if v == nil {
		r.absent(component, name)
		return
	}
	r.value(component, name, *v)
}

func (r *readings) absent(component, name string) {
	r.add(signal.Reading{Component: component, Signal: name, Status: signal.Absent})
}

func (r *readings) failed(component, name, why string) {
	r.add(signal.Reading{Component: component, Signal: name, Text: why, Status: signal.Failed})
}

func (r *readings) add(one signal.Reading) {
	s, _ := signal.Lookup(one.Signal)
	one.Unit, one.ObservedAt = s.Unit, r.at
	r.list = append(r.list, one)
}
