package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/test/lab"
)

// seen is what the story has told already, so that it tells each thing once.
type seen struct {
	day      atomic.Int64       // of the failing drive's record
	risk     map[string]float64 // that was told last, by component
	state    map[string]string
	decision map[string]string
	claim    map[string]uint64
	moved    map[string]bool
	summary  map[string]bool // of decisions
	guests   []string        // that the failing host had before
	empty    bool
}

// settle waits until every agent is connected and every guest has its claim.
func (s *story) settle(ctx context.Context) error {
	s.seen = seen{risk: map[string]float64{}, state: map[string]string{}, decision: map[string]string{}, claim: map[string]uint64{}, moved: map[string]bool{}, summary: map[string]bool{}}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var claims managerv1.ListClaimsResponse
		err := s.lab.Ask(ctx, &claims, "claims")
		held := 0
		for _, c := range claims.Claims {
			if c.Phase == "held" {
				s.seen.claim[c.DomainName] = c.Epoch
				held++
			}
		}
		if err == nil && held == len(s.lab.Guests) {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after a minute %d of %d guests have a claim: %w", held, len(s.lab.Guests), errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
	out, err := s.lab.Vireo(ctx, "hosts")
	if err != nil {
		return err
	}
	s.text.command("vireo hosts")
	s.text.block(out)
	return nil
}

// replay lets both drives live their recorded days and tells what vireo makes
// of it, until the failing host is empty or the drive has been dead for a while.
func (s *story) replay(ctx context.Context) error {
	s.text.chapter(fmt.Sprintf("The next recorded days, one every %s, as what smartctl prints on %s and %s; day 0 is the drive's last, days without a change are left out", s.Every, FailingHost, HealthyHost))
	s.text.dim("  SMART 5: reallocated sectors, 187: reported uncorrectable errors, 188: command timeouts, 197: pending sectors, 198: offline uncorrectable")
	if err := s.rememberGuests(ctx); err != nil {
		return err
	}
	s.seen.day.Store(firstDay)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	drive := func(host, serial string, out io.Writer) func() error {
		return func() error {
			err := s.lab.Replay(ctx, host, lab.Replay{Serial: serial, From: firstDay, Every: s.Every}, out)
			if errors.Is(err, context.Canceled) {
				return nil // the story is over before the drive is
			}
			return err
		}
	}
	g.Go(drive(FailingHost, FailingDrive, &days{story: s, tell: true}))
	g.Go(drive(HealthyHost, HealthyDrive, &days{story: s}))
	g.Go(func() error {
		defer cancel()
		return s.watch(ctx)
	})
	return g.Wait()
}

func (s *story) rememberGuests(ctx context.Context) error {
	guests, err := s.lab.GuestStates(ctx)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if g.Host == FailingHost {
			s.seen.guests = append(s.seen.guests, g.Name)
		}
	}
	return s.lab.Heartbeats().Forget(ctx)
}

// days takes the lines of a replay.
type days struct {
	story *story
	tell  bool
	last  string // what was told
}

var dayLine = regexp.MustCompile(`day\s+(-?\d+)\s+(\S+)\s+(.*)`)

func (d *days) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		m := dayLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return 0, fmt.Errorf("a replay said %q, expected a day", line)
		}
		if !d.tell {
			continue
		}
		day, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, err
		}
		d.story.seen.day.Store(int64(day))
		if m[3] == d.last {
			continue // nothing changed
		}
		d.last = m[3]
		d.story.text.line("  %s  %s", d.story.text.paint(bold, fmt.Sprintf("day %3d", day)), m[3])
	}
	return len(p), nil
}

// watch looks a few times a second, as a person at a terminal would, and tells
// what is new.
func (s *story) watch(ctx context.Context) error {
	deadline := time.Now().Add(time.Duration(-firstDay)*s.Every + afterEnd)
	for time.Now().Before(deadline) {
		if err := s.look(ctx); err != nil {
			return err
		}
		if s.seen.empty {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(150 * time.Millisecond):
		}
	}
	return nil
}

func (s *story) look(ctx context.Context) error {
	var risks managerv1.ListRiskResponse
	var hosts managerv1.ListHostsResponse
	var decisions managerv1.ListDecisionsResponse
	var claims managerv1.ListClaimsResponse
	var moves managerv1.ListMigrationsResponse
	for _, err := range []error{
		// First the hosts: a host that is drained has no move that the later
		// answers do not show as ended.
		s.lab.Ask(ctx, &hosts, "hosts"),
		s.lab.Ask(ctx, &risks, "risk"), s.lab.Ask(ctx, &decisions, "decisions"), s.lab.Ask(ctx, &claims, "claims"),
		s.lab.Ask(ctx, &moves, "migrations"),
	} {
		if err != nil {
			return err
		}
	}
	for _, r := range risks.Components {
		s.tellRisk(r)
	}
	for _, d := range slices.Backward(decisions.Decisions) {
		s.tellDecision(d)
	}
	for _, c := range claims.Claims {
		s.tellClaim(c)
	}
	for _, m := range slices.Backward(moves.Migrations) {
		s.tellMove(m)
	}
	for _, h := range hosts.Hosts {
		s.tellState(h)
	}
	return nil
}

const indent = "           "

func (s *story) tellRisk(r *managerv1.ComponentRisk) {
	if r.Component != "disk:"+FailingDrive && r.Component != "disk:"+HealthyDrive {
		return
	}
	now := r.GetScore().GetP30D()
	if was, told := s.seen.risk[r.Component]; told && math.Abs(now-was) < max(0.5, was/10) {
		return // no news
	}
	s.seen.risk[r.Component] = now
	risk := pfa.Percent(now)
	why := ""
	if len(r.Reasons) > 0 {
		why = ": " + r.Reasons[0].Text
	}
	s.text.line(indent+"%s %s: risk %s within 30 days (%s–%s)%s", r.Host, r.Component, s.text.paint(bold, risk),
		strings.TrimSuffix(pfa.Percent(r.Score.Low30D), " %"), pfa.Percent(r.Score.High30D), why)
}

func (s *story) tellDecision(d *managerv1.Decision) {
	if s.seen.decision[d.Id] == d.Status {
		return
	}
	first := s.seen.decision[d.Id] == ""
	s.seen.decision[d.Id] = d.Status
	if d.Kind == "evacuate" && d.Host == FailingHost && s.result.EvacuationRisk == 0 {
		s.result.EvacuationRisk = d.GetRisk().GetP30D()
	}
	title := s.text.paint(yellow, fmt.Sprintf("%s: %s (%s)", d.Host, d.Kind, d.Status))
	if !first {
		s.text.line(indent+"%s %s", title, d.Resolution)
		return
	}
	s.seen.summary[d.Summary] = true
	s.text.line(indent+"%s %s", title, d.Summary)
	for _, p := range d.Placements {
		where := "stays"
		if p.Target != "" {
			where = "→ " + p.Target
		}
		s.text.line(indent+"  %s %s: %s", p.DomainName, where, p.Why)
		for _, no := range p.Rejected {
			s.text.dim(fmt.Sprintf(indent+"      not %s: %s", no.Host, no.Reason))
		}
	}
}

func (s *story) tellClaim(c *managerv1.Claim) {
	if s.seen.claim[c.DomainName] == c.Epoch {
		return
	}
	s.seen.claim[c.DomainName] = c.Epoch
	target := ""
	if c.Target != "" {
		target = " → " + c.Target
	}
	s.text.dim(fmt.Sprintf(indent+"claim of %s: %s %s%s, epoch %d", c.DomainName, c.Phase, c.Holder, target, c.Epoch))
}

func (s *story) tellMove(m *managerv1.Migration) {
	if m.Outcome == "" || s.seen.moved[m.Id] {
		return
	}
	s.seen.moved[m.Id] = true
	d := m.GetDowntime()
	ms := func(v interface{ AsDuration() time.Duration }) string {
		return fmt.Sprintf("%d ms", v.AsDuration().Round(time.Millisecond).Milliseconds())
	}
	s.text.line(indent+"%s", s.text.paint(green, fmt.Sprintf("%s %s → %s: %s in %s, down for %s (switch %s, source's exit %s, hand-over %s)", m.DomainName, m.Source, m.Target,
		m.State, m.Ended.AsTime().Sub(m.Started.AsTime()).Round(10*time.Millisecond), ms(d.GetTotal()), ms(d.GetSwitch()), ms(d.GetSourceExit()), ms(d.GetHandover()))))
	s.result.Guests = append(s.result.Guests, Guest{
		Name: m.DomainName, From: m.Source, To: m.Target, Took: m.Ended.AsTime().Sub(m.Started.AsTime()),
		Downtime: Downtime{d.GetTotal().AsDuration(), d.GetSwitch().AsDuration(), d.GetSourceExit().AsDuration(), d.GetHandover().AsDuration()},
	})
}

// stateWords are the states as a sentence ends with them.
var stateWords = map[string]string{
	"healthy": "healthy", "watch": "on watch", "quarantined": "quarantined", "evacuating": "evacuating", "drained": "drained",
	"maintenance": "in maintenance", "unknown": "unknown",
}

func (s *story) tellState(h *managerv1.Host) {
	was := s.seen.state[h.Name]
	if was == h.State {
		return
	}
	s.seen.state[h.Name] = h.State
	if was != "" {
		why := ": " + h.StateReason
		if s.seen.summary[h.StateReason] { // the decision has said it
			why = ""
		}
		s.text.line(indent+"%s", s.text.paint(yellow, fmt.Sprintf("%s is %s%s", h.Name, stateWords[h.State], why)))
	}
	if h.Name == FailingHost && h.State == "drained" {
		s.seen.empty = true
		s.result.EmptyAt = int(s.seen.day.Load())
	}
}
