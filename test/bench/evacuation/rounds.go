package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
)

const (
	source = "h1"
	target = "h2"
	// quiet is how long guests are left alone before and after a measurement.
	quiet = 2 * time.Second
	limit = 2 * time.Minute
)

// round is what one side measured, in milliseconds.
type round struct {
	took, signal         float64
	downtimes, handovers []float64
	restarts, doubles    int
}

// virshRound moves the guests with virsh, a few at a time, the next one as soon
// as one has ended.
func virshRound(ctx context.Context, guests, parallel int) (r round, err error) {
	l, err := lab.Up(ctx, lab.Options{Hosts: 2, Guests: guests, GuestsOn: source, NoVireo: true})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	time.Sleep(quiet)
	if err := l.Heartbeats().Forget(ctx); err != nil {
		return r, err
	}
	began := time.Now()
	g, moving := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, guest := range l.Guests {
		g.Go(func() error {
			_, err := l.Virsh(moving, source, "migrate", "--live", "--p2p", guest.Name, "qemu+tcp://"+target+"/system")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	err = r.hear(ctx, l, began, target)
	return r, err
}

// vireoRound lets vireo empty one host by hand and then another on hard evidence.
func vireoRound(ctx context.Context, guests int) (r round, err error) {
	l, err := lab.Up(ctx, lab.Options{Hosts: 2, Guests: guests, GuestsOn: source})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	o := operator{l}
	defer func() {
		if err != nil {
			o.explain()
		}
	}()
	if err := o.claimsHeld(ctx, guests); err != nil {
		return r, err
	}
	time.Sleep(quiet)
	if err := l.Heartbeats().Forget(ctx); err != nil {
		return r, err
	}
	began := time.Now()
	if _, err := o.Vireo(ctx, "evacuate", source, "--yes", "--detach", "--reason", "measured"); err != nil {
		return r, err
	}
	if err := r.hear(ctx, l, began, target); err != nil {
		return r, err
	}
	moves, err := o.moves(ctx, guests, began)
	if err != nil {
		return r, err
	}
	for _, m := range moves {
		d := m.GetDowntime()
		fmt.Fprintf(os.Stderr, "  %s down for %v: switch %v, source's exit %v, hand-over %v\n", m.GetDomainName(),
			d.GetTotal().AsDuration(), d.GetSwitch().AsDuration(), d.GetSourceExit().AsDuration(), d.GetHandover().AsDuration())
		r.handovers = append(r.handovers, milliseconds(d.GetHandover().AsDuration()))
	}
	r.signal, err = o.hardEvidence(ctx, guests)
	return r, err
}

// hear waits until all guests speak from a host and takes down what they went through.
func (r *round) hear(ctx context.Context, l *lab.Lab, began time.Time, from string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		beats, err := l.Heartbeats().Guests(ctx)
		if err != nil {
			return err
		}
		arrived, last := 0, began
		for _, b := range beats {
			if b.Host == from && len(b.Moves) > 0 {
				arrived++
				if at := b.Moves[len(b.Moves)-1].At; at.After(last) {
					last = at
				}
			}
		}
		if arrived == len(l.Guests) {
			r.took = milliseconds(last.Sub(began))
			time.Sleep(quiet)
			return r.damage(ctx, l, began)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d guests speak from %s: %w", arrived, len(l.Guests), from, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *round) damage(ctx context.Context, l *lab.Lab, began time.Time) error {
	beats, err := l.Heartbeats().Guests(ctx)
	if err != nil {
		return err
	}
	for _, b := range beats {
		if n := len(b.Moves); n > 0 {
			fmt.Fprintf(os.Stderr, "  %s heard from %s after %.0f ms, silent for %.0f ms\n", b.Name, b.Host, milliseconds(b.Moves[n-1].At.Sub(began)), b.LargestGapMS)
		}
		r.downtimes = append(r.downtimes, b.LargestGapMS)
		r.restarts += b.Restarts
		r.doubles += b.DoubleSeconds
	}
	return nil
}

// operator uses the lab's vireo as a person would.
type operator struct{ *lab.Lab }

// explain prints what vireo and both libvirts say, before the lab is gone.
func (o operator) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, what := range [][]string{{"migrations"}, {"claims"}, {"explain", "host", source}, {"events"}} {
		out, err := o.Vireo(ctx, what...)
		fmt.Fprintf(os.Stderr, "vireo %s: %v\n%s\n", strings.Join(what, " "), err, out)
	}
	for _, h := range []string{source, target} {
		out, err := o.Virsh(ctx, h, "list", "--all")
		fmt.Fprintf(os.Stderr, "virsh list on %s: %v\n%s\n", h, err, out)
	}
	beats, err := o.Heartbeats().Guests(ctx)
	for _, b := range beats {
		fmt.Fprintf(os.Stderr, "%s: from %s, silent for %.0f ms, %d moves\n", b.Name, b.Host, b.SilentMS, len(b.Moves))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "heartbeats:", err)
	}
}

// until asks again and again, until done says so.
func (o operator) until(ctx context.Context, what string, into proto.Message, done func() bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := o.Ask(ctx, into, args...)
		if err == nil && done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (o operator) claimsHeld(ctx context.Context, guests int) error {
	var claims managerv1.ListClaimsResponse
	return o.until(ctx, "every guest has a claim", &claims, func() bool {
		held := 0
		for _, c := range claims.Claims {
			if c.Phase == "held" {
				held++
			}
		}
		return held == guests
	}, "claims")
}

// moves waits until so many moves that began after t are done.
func (o operator) moves(ctx context.Context, want int, t time.Time) ([]*managerv1.Migration, error) {
	var all managerv1.ListMigrationsResponse
	var done []*managerv1.Migration
	err := o.until(ctx, fmt.Sprintf("%d moves are done", want), &all, func() bool {
		done = done[:0]
		for _, m := range all.Migrations {
			if m.State == "done" && m.Started.AsTime().After(t) {
				done = append(done, m)
			}
		}
		return len(done) == want
	}, "migrations")
	return done, err
}

// hardEvidence makes the drive under the guests fail its own overall health
// check and returns how long it took until libvirt was called for the first guest.
func (o operator) hardEvidence(ctx context.Context, guests int) (float64, error) {
	if _, err := o.Vireo(ctx, "return", source, "--reason", "measured"); err != nil {
		return 0, err
	}
	var hosts managerv1.ListHostsResponse
	if err := o.until(ctx, "the emptied host is healthy again", &hosts, func() bool {
		for _, h := range hosts.Hosts {
			if h.Name == source && h.State == "healthy" {
				return true
			}
		}
		return false
	}, "hosts"); err != nil {
		return 0, err
	}
	healthy, failed, err := failingDocuments()
	if err != nil {
		return 0, err
	}
	if err := o.ShowDocument(target, healthy); err != nil {
		return 0, err
	}
	time.Sleep(quiet)
	shown := time.Now()
	if err := o.ShowDocument(target, failed); err != nil {
		return 0, err
	}
	moves, err := o.moves(ctx, guests, shown)
	if err != nil {
		return 0, err
	}
	var first time.Time
	for _, m := range moves {
		for _, step := range m.Steps {
			if at := step.At.AsTime(); step.Name == "running" && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	if first.IsZero() {
		return 0, errors.New("no move has a step named running")
	}
	return milliseconds(first.Sub(shown)), nil
}

// failingDocuments are what smartctl prints of a drive, before and after its own
// health check has failed.
func failingDocuments() (healthy, failed []byte, err error) {
	document := func(passed bool) ([]byte, error) {
		return json.Marshal(map[string]any{
			"json_format_version": []int{1, 0},
			"smartctl":            map[string]any{"version": []int{7, 3}, "exit_status": 0},
			"device":              map[string]any{"name": "/dev/sda", "info_name": "/dev/sda [SAT]", "type": "sat", "protocol": "ATA"},
			"model_name":          "ST4000DM000-1F2168", "serial_number": "BENCH001", "rotation_rate": 5900,
			"smart_support": map[string]any{"available": true, "enabled": true},
			"smart_status":  map[string]any{"passed": passed},
			"power_on_time": map[string]any{"hours": 9000},
			"ata_smart_attributes": map[string]any{"revision": 10, "table": []map[string]any{
				{"id": 9, "name": "Power_On_Hours", "value": 90, "worst": 90, "thresh": 0, "when_failed": "", "raw": map[string]any{"value": 9000, "string": "9000"}},
			}},
		})
	}
	if healthy, err = document(true); err != nil {
		return nil, nil, err
	}
	failed, err = document(false)
	return healthy, failed, err
}
