package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/test/lab"
)

// The cast. The failing drive died on 2014-09-29; the healthy one is of the
// same model and began to run on the same day (test/testdata/drives/README.md).
const (
	FailingDrive = "Z300V1RR"
	HealthyDrive = "Z300V63Y"
	FailingHost  = "h1"
	HealthyHost  = "h2"

	// firstDay is the first recorded day that is replayed, counted from the
	// drive's last one; everything before it is imported as the hosts' past.
	firstDay = -25
	// afterEnd is how long is waited for the host to be empty after the last
	// recorded day: what is not empty then was too late anyway.
	afterEnd = 30 * time.Second
)

// Options of a run.
type Options struct {
	Out   io.Writer     // the story, for people
	Color bool          // Out is a terminal
	Keep  bool          // leave the lab up
	Every time.Duration // real time per recorded day; 0: one second, or more on a slow machine
	Bin   string        // directory of the programs; "": found by the lab
}

// Result is what happened.
type Result struct {
	EmptyAt        int  // the recorded day on which the failing host was empty: -18 is 18 days before the drive's last one
	HealthyStayed  bool // the healthy host was never more than watched, and kept its guests
	EvacuationRisk float64
	Guests         []Guest // those that were on the failing host
	Took           time.Duration
}

// Guest is what one guest of the failing host went through.
type Guest struct {
	Name     string
	From, To string
	Took     time.Duration
	Downtime Downtime
	Gap      time.Duration // longest silence that was seen from outside
	Restarts int
	Double   int // seconds in which two copies spoke
	Damaged  bool
}

// Downtime as vireo tells it, with its shares.
type Downtime struct{ Total, Switch, SourceExit, Handover time.Duration }

// ErrNotOutrun is returned with a Result when the host was not empty in time.
var ErrNotOutrun = errors.New("the failing host was not emptied before the recorded failure")

// Run brings a lab up, tells the story and takes the lab down again.
func Run(ctx context.Context, o Options) (res Result, err error) {
	began := time.Now()
	s := &story{Options: o, text: newText(o.Out, o.Color)}
	s.text.line("Drive %s failed in a data centre on 2014-09-29; its daily SMART record was kept. Here it dies again, under the root", FailingDrive)
	s.text.line("file system of %s. vireo's model was not trained on it. Will the host be empty in time?", FailingHost)
	s.text.chapter("A fleet: three KVM hosts, six guests, a manager, an agent on each host")
	s.lab, err = lab.Up(ctx, lab.Options{Hosts: 3, Guests: 6, GuestMiB: 128, Bin: o.Bin, Say: func(line string) { s.text.dim("  " + line) }})
	if err != nil {
		return res, err
	}
	if !o.Keep {
		defer func() { err = errors.Join(err, s.lab.Down()) }()
	}
	if s.Every == 0 {
		s.Every = dayOn(time.Since(began))
	}
	for _, step := range []func(context.Context) error{s.settle, s.past, s.before, s.replay, s.after} {
		if err := step(ctx); err != nil {
			return s.result, err
		}
	}
	s.result.Took = time.Since(began)
	s.conclude()
	if s.result.EmptyAt >= 0 {
		return s.result, ErrNotOutrun
	}
	return s.result, nil
}

// dayOn is the real time of a recorded day on a machine on which the fleet took so
// long to come up: a tenth of that, 10 s on two idle cores. A move takes as many days
// on a slow machine then as on a fast one, and not the machine decides whether the
// failure is outrun. It is a second at least, and five at most, so that the story ends.
func dayOn(up time.Duration) time.Duration {
	return min(max(time.Second, (up/10).Round(100*time.Millisecond)), 5*time.Second)
}

// story is a run under way.
type story struct {
	Options
	text   *text
	lab    *lab.Lab
	seen   seen
	result Result
}

// past gives both hosts their drives' past, as an operator would who comes from
// another monitoring system.
func (s *story) past(ctx context.Context) error {
	s.text.chapter("Their past: what the two recorded drives said until 26 days before one of them died")
	drives, err := lab.FindDrives(s.lab.Options.Bin)
	if err != nil {
		return err
	}
	for _, h := range []struct{ host, drive string }{{FailingHost, FailingDrive}, {HealthyHost, HealthyDrive}} {
		out, err := s.lab.Vireo(ctx, "pfa", "import", "--as-readings", "--host", h.host, "--until", fmt.Sprint(firstDay-1), filepath.Join(drives, h.drive+".csv"))
		if err != nil {
			return err
		}
		s.text.command("vireo pfa import --as-readings --host %s --until %d %s.csv", h.host, firstDay-1, h.drive)
		s.text.block(strings.TrimPrefix(out, drives+"/"))
	}
	return nil
}

// before shows where the guests are before anything happens.
func (s *story) before(ctx context.Context) error {
	s.text.chapter("Before")
	return s.showHosts(ctx)
}

func (s *story) showHosts(ctx context.Context) error {
	var blocks []string
	for _, h := range []string{FailingHost, HealthyHost, "h3"} {
		out, err := s.lab.Virsh(ctx, h, "list")
		if err != nil {
			return err
		}
		blocks = append(blocks, "$ virsh list    # on "+h+"\n"+out)
	}
	s.text.columns(blocks)
	return nil
}
