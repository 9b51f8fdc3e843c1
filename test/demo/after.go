package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/heartbeat"
)

// after shows where the guests are now and what they went through, measured
// from outside.
func (s *story) after(ctx context.Context) error {
	s.text.chapter("After")
	if err := s.showHosts(ctx); err != nil {
		return err
	}
	if err := s.measure(ctx); err != nil {
		return err
	}
	if err := s.judgeHealthy(ctx); err != nil {
		return err
	}
	s.text.chapter("Why, in vireo's own words, from the stored evidence")
	out, err := s.lab.Vireo(ctx, "explain", "host", FailingHost)
	if err != nil {
		return err
	}
	s.text.command("vireo explain host %s", FailingHost)
	s.text.block(lastDecision(out))
	s.text.dim("    … earlier decisions, moves and events; vireo explain domain and vireo explain migration tell theirs")
	return nil
}

// lastDecision cuts a host's explanation behind its newest decision: what
// follows was just seen.
func lastDecision(story string) string {
	story, _, _ = strings.Cut(story, "\nMoves\n")
	head, decisions, found := strings.Cut(story, "\nDecisions\n")
	if !found {
		return strings.TrimRight(story, "\n")
	}
	var kept []string
	for i, line := range strings.Split(strings.TrimRight(decisions, "\n"), "\n") {
		if i > 0 && !strings.HasPrefix(line, "    ") {
			break
		}
		kept = append(kept, line)
	}
	return head + "\nDecisions\n" + strings.Join(kept, "\n")
}

// measure adds what the receiver of the guests' beats saw.
func (s *story) measure(ctx context.Context) error {
	beats, err := s.heard(ctx)
	if err != nil {
		return err
	}
	s.text.line("  %-8s %-10s %14s %22s %10s %12s %8s", "GUEST", "MOVED", "VIREO'S COUNT", "SILENCE FROM OUTSIDE", "RESTARTS", "TWO SENDERS", "DAMAGE")
	for _, b := range beats {
		moved, downtime := "-", "-"
		for i := range s.result.Guests {
			g := &s.result.Guests[i]
			if g.Name != b.Name {
				continue
			}
			g.Gap = time.Duration(b.LargestGapMS * float64(time.Millisecond))
			g.Restarts, g.Double, g.Damaged = b.Restarts, b.DoubleSeconds, b.PatternErrors+b.DiskErrors > 0
			moved, downtime = g.From+" → "+g.To, fmt.Sprintf("%d ms", g.Downtime.Total.Round(time.Millisecond).Milliseconds())
		}
		s.text.line("  %-8s %-10s %14s %19.0f ms %10d %10d s %8d", b.Name, moved, downtime, b.LargestGapMS, b.Restarts, b.DoubleSeconds, b.PatternErrors+b.DiskErrors)
	}
	return nil
}

// heard waits until every guest that moved speaks from where it is: a silence is
// known when it is over.
func (s *story) heard(ctx context.Context) ([]heartbeat.Guest, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		beats, err := s.lab.Heartbeats().Guests(ctx)
		if err != nil {
			return nil, err
		}
		silent := ""
		for _, g := range s.result.Guests {
			if !slices.ContainsFunc(beats, func(b heartbeat.Guest) bool { return b.Name == g.Name && b.Host == g.To }) {
				silent = g.Name
			}
		}
		if silent == "" {
			return beats, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s has moved and was not heard from there: %w", silent, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *story) judgeHealthy(ctx context.Context) error {
	var hosts managerv1.ListHostsResponse
	if err := s.lab.Ask(ctx, &hosts, "hosts"); err != nil {
		return err
	}
	var moves managerv1.ListMigrationsResponse
	if err := s.lab.Ask(ctx, &moves, "migrations"); err != nil {
		return err
	}
	i := slices.IndexFunc(hosts.Hosts, func(h *managerv1.Host) bool { return h.Name == HealthyHost })
	left := slices.ContainsFunc(moves.Migrations, func(m *managerv1.Migration) bool { return m.Source == HealthyHost })
	s.result.HealthyStayed = i >= 0 && (hosts.Hosts[i].State == "healthy" || hosts.Hosts[i].State == "watch") && !left
	return nil
}

func (s *story) conclude() {
	r := s.result
	restarts, doubles := 0, 0
	for _, g := range r.Guests {
		restarts += g.Restarts
		doubles += g.Double
	}
	s.text.line("")
	if r.EmptyAt < 0 {
		s.text.line("%s", s.text.paint(bold, fmt.Sprintf("%s was empty %d days before its disk died: %d guests moved, %d restarts, %d s with two copies. %s stayed %s. %s in all.",
			FailingHost, -r.EmptyAt, len(r.Guests), restarts, doubles, HealthyHost, s.seen.state[HealthyHost], r.Took.Round(time.Second))))
	} else {
		s.text.line("%s", s.text.paint(red, fmt.Sprintf("%s was not empty when its disk died.", FailingHost)))
	}
	if s.Keep {
		s.text.line(`The lab is still up: eval "$(bin/vireo-lab env)"; vireo hosts; bin/vireo-lab down`)
	}
}
