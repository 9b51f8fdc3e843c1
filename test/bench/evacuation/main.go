package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// report is what the run prints. Times are milliseconds, medians of all rounds;
// downtimes and hand-overs are medians over all guests of all rounds.
type report struct {
	Rounds               int     `json:"rounds"`
	Guests               int     `json:"guests"`
	Parallel             int     `json:"parallel"`
	SignalToFirstMigrate float64 `json:"signal_to_first_migrate_ms"` // hard evidence shown by smartctl → the source's libvirt called
	Evacuation           float64 `json:"evacuation_ms"`              // command given → last guest heard from the target
	Bare                 float64 `json:"virsh_ms"`
	RatioToVirsh         float64 `json:"ratio_to_virsh"` // median of the rounds' own ratios
	Handover             float64 `json:"handover_ms"`    // both sides known → resumed
	Downtime             float64 `json:"downtime_ms"`    // longest silence of a guest, from outside
	DowntimeBare         float64 `json:"downtime_virsh_ms"`
	DowntimeAbove        float64 `json:"downtime_above_virsh_ms"`
	Restarts             int     `json:"restarts"`
	TwoSenderSeconds     int     `json:"two_sender_seconds"`
}

func main() {
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	guests := flag.Int("guests", 4, "guests on the host that is emptied")
	parallel := flag.Int("parallel", 2, "moves at a time, on both sides; 2 is vireo's default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *guests, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "bench-evacuation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, guests, parallel int) error {
	var signals, ours, bare, ratios, handovers, down, downBare []float64
	rep := report{Rounds: rounds, Guests: guests, Parallel: parallel}
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, rounds)
		b, err := virshRound(ctx, guests, parallel)
		if err != nil {
			return fmt.Errorf("virsh, round %d: %w", i+1, err)
		}
		v, err := vireoRound(ctx, guests)
		if err != nil {
			return fmt.Errorf("vireo, round %d: %w", i+1, err)
		}
		bare, ours = append(bare, b.took), append(ours, v.took)
		ratios = append(ratios, v.took/b.took)
		signals = append(signals, v.signal)
		downBare, down = append(downBare, b.downtimes...), append(down, v.downtimes...)
		handovers = append(handovers, v.handovers...)
		rep.Restarts += v.restarts
		rep.TwoSenderSeconds += v.doubles
	}
	rep.SignalToFirstMigrate, rep.Evacuation, rep.Bare = median(signals), median(ours), median(bare)
	rep.RatioToVirsh, rep.Handover = median(ratios), median(handovers)
	rep.Downtime, rep.DowntimeBare = median(down), median(downBare)
	rep.DowntimeAbove = rep.Downtime - rep.DowntimeBare
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(rep)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
