package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what one way to move a guest has shown over all tries.
type result struct {
	Mover    string    `json:"mover"`
	Tries    int       `json:"tries"`
	Doubled  int       `json:"two_copies_ran"` // tries after which both copies ran on, until somebody ended one
	Lost     int       `json:"guest_lost"`     // tries after which the guest had booted anew or was nowhere
	Downtime []float64 `json:"downtime_ms"`    // the longest silence of each try in which the guest survived in one copy
	Notes    []string  `json:"notes"`          // one of each try
}

func main() {
	tries := flag.Int("tries", 5, "how often each is tried")
	only := flag.String("only", "", "one of virsh, pacemaker, vireo")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *tries, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "bench-doublerun:", err)
		os.Exit(1)
	}
}

// movers are compared, in the order of the table.
var movers = []struct {
	name, words string
	try         func(context.Context) (try, error)
}{
	{"virsh", "virsh migrate --live --p2p", tryVirsh},
	{"pacemaker", "Pacemaker's VirtualDomain", tryPacemaker},
	{"vireo", "vireo claims move", tryVireo},
}

// try is what one try has shown.
type try struct {
	doubled, lost bool
	downtime      time.Duration
	note          string
}

func run(ctx context.Context, tries int, only string, asJSON bool) error {
	var results []result
	for _, m := range movers {
		if only != "" && only != m.name {
			continue
		}
		r := result{Mover: m.words}
		for i := range tries {
			got, err := m.try(ctx)
			if err != nil {
				return fmt.Errorf("%s, try %d: %w", m.name, i+1, err)
			}
			fmt.Fprintf(os.Stderr, "%s, try %d of %d: two copies %v, lost %v, longest silence %s; %s\n",
				m.name, i+1, tries, got.doubled, got.lost, got.downtime.Round(time.Millisecond), got.note)
			r.Tries++
			r.Notes = append(r.Notes, got.note)
			if got.doubled {
				r.Doubled++
			}
			if got.lost {
				r.Lost++
			}
			if !got.doubled && !got.lost {
				r.Downtime = append(r.Downtime, float64(got.downtime)/float64(time.Millisecond))
			}
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("-only %q: expected virsh, pacemaker or vireo", only)
	}
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
	}
	return table(os.Stdout, results)
}

func table(out io.Writer, results []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MOVED BY\tTRIES\tTWO COPIES RAN\tGUEST LOST\tLONGEST SILENCE OTHERWISE")
	for _, r := range results {
		silence := "-"
		if n := len(r.Downtime); n > 0 {
			slices.Sort(r.Downtime)
			silence = fmt.Sprintf("%.0f ms (median), %.0f ms (most)", r.Downtime[n/2], r.Downtime[n-1])
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", r.Mover, r.Tries, r.Doubled, r.Lost, silence)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(out, "\n%s:\n  %s\n", r.Mover, strings.Join(slices.Compact(slices.Sorted(slices.Values(r.Notes))), "\n  "))
	}
	return nil
}
