package collect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/run"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Smart reads every drive that smartctl finds.
type Smart struct {
	Path    string        // of smartctl
	Timeout time.Duration // for one call; there is one for the scan and one for each drive
	Runner  *run.Runner
	Drives  *Drives // learns which device is which drive

	// rests says until when a drive that did not answer is left alone: each try
	// would hold up the readings of all others.
	rests map[string]time.Time
}

const (
	// smartOutput bounds one document; with all logs they are below 200 KiB.
	smartOutput = 4 << 20
	// atOnce is how many drives are read at the same time.
	atOnce = 4
	// restFor is how many timeouts long a drive that did not answer is left alone.
	restFor = 10
)

// Name is "smart".
func (*Smart) Name() string { return "smart" }

// Deadline is how long a whole Collect may take, however many drives hang.
func (s *Smart) Deadline() time.Duration { return 10*s.Timeout + time.Second }

// Collect scans and reads all drives. A drive that cannot be read does not keep
// the others from being read: its verdict is failed, with the reason, and so is
// the collector.
func (s *Smart) Collect(ctx context.Context, now time.Time) (agent.Collected, error) {
	scan, err := s.call(ctx, "--scan-open", "--json")
	if err != nil {
		return agent.Collected{}, fmt.Errorf("scan for drives: %w", err)
	}
	if len(scan.Devices) == 0 {
		return agent.Collected{}, fmt.Errorf("no drives: %w", ErrAbsent)
	}
	type answer struct {
		doc document
		err error
	}
	answers := make([]answer, len(scan.Devices))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, dev := range scan.Devices {
		if until := s.rests[dev.Name]; now.Before(until) {
			answers[i].err = fmt.Errorf("%w; left alone until %s", run.ErrTimeout, until.UTC().Format(time.TimeOnly))
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i].doc, answers[i].err = s.read(ctx, dev)
		})
	}
	all.Wait()

	r := readings{at: now}
	var failed []error
	seen := map[string]bool{} // a drive may be found by two paths
	rests := map[string]time.Time{}
	for i, dev := range scan.Devices {
		a := answers[i]
		if until := s.rests[dev.Name]; now.Before(until) {
			rests[dev.Name] = until
		} else if errors.Is(a.err, run.ErrTimeout) {
			rests[dev.Name] = now.Add(restFor * s.Timeout)
		}
		if a.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", dev.Name, a.err))
			if c, ok := s.Drives.Known(dev.Name); ok && !seen[c] {
				seen[c] = true
				r.failed(c, signal.SmartPassed, a.err.Error())
			}
			continue
		}
		serial := a.doc.Serial
		if !plain(serial) {
			failed = append(failed, fmt.Errorf("%s: the drive tells no serial number", dev.Name))
			continue
		}
		s.Drives.Learn(dev.Name, serial)
		if c := signal.DiskComponent(serial); !seen[c] {
			seen[c] = true
			r.drive(c, a.doc)
		}
	}
	s.rests = rests
	return agent.Collected{Readings: r.list}, errors.Join(failed...)
}

func (s *Smart) read(ctx context.Context, dev device) (document, error) {
	if dev.OpenError != "" {
		return document{}, errors.New(dev.OpenError)
	}
	args := []string{"--json", "--info", "--health", "--attributes", "--log=error"}
	if dev.Type != "" {
		args = append(args, "--device="+dev.Type)
	}
	return s.call(ctx, append(args, dev.Name)...)
}

func (s *Smart) call(ctx context.Context, args ...string) (document, error) {
	res, err := s.Runner.Run(ctx, run.Limits{Timeout: s.Timeout, Output: smartOutput}, s.Path, args...)
	if err != nil {
		return document{}, err
	}
	return parseDocument(res.Stdout)
}
