package collect

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// scripted is a collector that does what the test says.
type scripted struct {
	name string
	do   func(ctx context.Context, call int) error
	runs atomic.Int64 // the last one may begin while the test ends
}

func (s *scripted) Name() string { return s.name }

func (s *scripted) Collect(ctx context.Context, now time.Time) (agent.Collected, error) {
	run := int(s.runs.Add(1))
	r := readings{at: now}
	r.value("cpu", signal.CPUBusy, float64(run))
	return agent.Collected{Readings: r.list}, s.do(ctx, run)
}

// bubble is the clock of a synctest bubble.
type bubble struct{}

func (bubble) Now() time.Time { return time.Now() }

func (bubble) After(d time.Duration) (<-chan time.Time, func()) {
	timer := time.NewTimer(d)
	return timer.C, func() { timer.Stop() }
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well := &scripted{name: "well", do: func(context.Context, int) error { return nil }}
		none := &scripted{name: "none", do: func(context.Context, int) error { return ErrAbsent }}
		fails := &scripted{name: "fails", do: func(_ context.Context, n int) error {
			if n < 3 {
				return errors.New("broken")
			}
			return nil
		}}
		hangs := &scripted{name: "hangs", do: func(ctx context.Context, n int) error {
			if n == 2 {
				time.Sleep(35 * time.Second) // deaf to ctx, as a read of a dead drive is
			}
			return nil
		}}
		var jobs []Job
		for _, c := range []Collector{well, none, fails, hangs} {
			jobs = append(jobs, Job{Collector: c, Interval: 10 * time.Second, Timeout: 4 * time.Second})
		}
		var log strings.Builder
		words := map[string][]string{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(ctx, bubble{}, slog.New(slog.NewTextHandler(&log, nil)), jobs, func(c agent.Collected) {
				last := c.Readings[len(c.Readings)-1]
				name := strings.TrimPrefix(last.Component, "collector:")
				words[name] = append(words[name], string(last.Status))
				if (last.Value != nil) != (last.Status == signal.OK) || (name == "none") != (last.Text == ErrAbsent.Error()) {
					t.Errorf("%s says %v %q", name, last.Value, last.Text)
				}
				if last.Signal != signal.CollectorOK {
					t.Errorf("%s ends with %s", name, last.Signal)
				}
				if name == "fails" && len(c.Readings) != 2 {
					t.Errorf("what was read before the error is lost: %v", c.Readings)
				}
			})
		}()
		time.Sleep(65 * time.Second)
		cancel()
		<-done

		for name, want := range map[string]string{
			"well":  "ok ok ok ok ok ok ok",
			"none":  "ok ok ok ok ok ok ok",
			"fails": "failed failed ok ok ok ok ok",
			// Begun at 0 s and 10 s; ended at 45 s, begun again then, 55 s, 65 s.
			"hangs": "ok failed ok ok",
		} {
			if got := strings.Join(words[name], " "); got != want && !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if n := hangs.runs.Load(); n > 5 {
			t.Errorf("what hung was started %d times", n)
		}
		if n := strings.Count(log.String(), "collector=fails"); n != 2 {
			t.Errorf("a failure and its end are two lines, not %d:\n%s", n, log.String())
		}
		synctest.Wait()
	})
}

// A drive that smartctl has just shown must not look as if nothing needed it
// until the next sweep.
func TestNewDriveWakesSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drives := &Drives{Sys: t.TempDir()}
		sweep := &scripted{name: "sweep", do: func(context.Context, int) error { return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(ctx, bubble{}, slog.New(slog.DiscardHandler), []Job{
				{Collector: sweep, Interval: time.Hour, Timeout: time.Minute, Wake: drives.News()},
			}, func(agent.Collected) {})
		}()
		for _, step := range []struct {
			device, serial string
			runs           int64
		}{
			{"", "", 1},
			{"/dev/sda", "S1", 2},
			{"/dev/sda", "S1", 2}, // known
			{"/dev/sda", "S2", 3}, // replaced
			{"/dev/sdb", "S3", 4},
		} {
			if step.device != "" {
				drives.Learn(step.device, step.serial)
			}
			synctest.Wait()
			if n := sweep.runs.Load(); n != step.runs {
				t.Fatalf("after %s %s: %d sweeps, want %d", step.device, step.serial, n, step.runs)
			}
		}
		cancel()
		<-done
	})
}
