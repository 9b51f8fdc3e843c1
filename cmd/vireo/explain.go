package main

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/pfa"
)

func (p *program) explainCommand() *cli.Command {
	about := func(name, argument, usage string, request func(string) *managerv1.ExplainRequest) *cli.Command {
		return &cli.Command{
			Name:      name,
			Usage:     usage,
			ArgsUsage: argument,
			Flags:     []cli.Flag{jsonFlag()},
			Action: func(c *cli.Context) error {
				id, err := one(c, argument)
				if err != nil {
					return err
				}
				res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.Explain, request(id))
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return p.printJSON(res)
				}
				p.explain(c.Context, res)
				return nil
			},
		}
	}
	return &cli.Command{
		Name:  "explain",
		Usage: "tell why: evidence, decisions, where guests went and why not elsewhere, from what was stored",
		Subcommands: []*cli.Command{
			about("host", "HOST", "why a host is in its state", func(id string) *managerv1.ExplainRequest {
				return &managerv1.ExplainRequest{Subject: &managerv1.ExplainRequest_Host{Host: id}}
			}),
			about("domain", "DOMAIN", "what happened to a guest, by name or UUID", func(id string) *managerv1.ExplainRequest {
				return &managerv1.ExplainRequest{Subject: &managerv1.ExplainRequest_Domain{Domain: id}}
			}),
			about("migration", "MIGRATION", "how a move went, step by step", func(id string) *managerv1.ExplainRequest {
				return &managerv1.ExplainRequest{Subject: &managerv1.ExplainRequest_Migration{Migration: id}}
			}),
		},
	}
}

// explain tells the story in its order: who, on what evidence, what was decided,
// what was done, what happened.
func (p *program) explain(ctx context.Context, s *managerv1.ExplainResponse) {
	gap := "" // before a heading, when something stands above it
	heading := func(text string) {
		p.printf(gap+"%s\n", cell{text, bold})
		gap = "\n"
	}
	about := "" // a domain's UUID, when the story is one domain's
	switch {
	case s.Domain != nil:
		about = s.Domain.Uuid
	case s.Host == nil && len(s.Migrations) == 1:
		about = s.Migrations[0].Domain
	}
	if s.Domain != nil {
		p.explainDomain(s.Domain)
		gap = "\n"
	}
	if h := s.Host; h != nil {
		gap = "\n"
		p.printf("%s: %s for %s", cell{h.Name, bold}, state(h.State), p.ago(h.StateSince))
		if h.StateReason != "" {
			p.printf(", %s", h.StateReason)
		}
		p.printf("\n  risk %s\n", p.score(h.Risk))
	}
	if len(s.Components) > 0 {
		heading("Evidence now")
		for _, r := range s.Components {
			p.printComponent("  ", r)
		}
	}
	if s.Placement != nil {
		heading("Where it could go now")
		p.printPlacement("  ", s.Placement)
	}
	if len(s.Decisions) > 0 {
		heading("Decisions")
		for _, d := range s.Decisions {
			p.explainDecision(d, about)
		}
	}
	if len(s.Migrations) > 0 {
		heading("Moves")
		for i, m := range s.Migrations { // the newest first
			p.explainMigration(m, about != "" && i == 0)
		}
		if about == "" || len(s.Migrations) > 1 {
			p.printf("  step by step: vireo explain migration ID\n")
		}
	}
	if len(s.Events) > 0 {
		heading("Events")
		p.printEvents(ctx, s.Events)
	}
}

func (p *program) explainDomain(d *managerv1.DomainRow) {
	p.printf("%s (%s): %s on %s", cell{or(d.Name, d.Uuid), bold}, d.Uuid, state(d.State), or(d.Host, "no host"))
	if d.StateReason != "" {
		p.printf(" (%s)", d.StateReason)
	}
	p.printf("\n")
	if c := d.Claim; c != nil {
		p.printf("  claim: %s by %s, epoch %d, granted by %s, since %s\n", state(c.Phase), c.Holder, c.Epoch, or(c.GrantedBy, "-"), stamp(c.Since))
		if c.Target != "" {
			p.printf("  on its way to %s, attempt %s\n", c.Target, c.Attempt)
		}
	} else {
		p.printf("  no claim: nobody may run it before one is granted\n")
	}
}

// explainDecision tells a decision, with where it wanted all guests to go, or
// one domain.
func (p *program) explainDecision(d *managerv1.Decision, domain string) {
	p.printf("  %s  %s %s: %s  %s\n", stamp(d.At), cell{d.Kind, bold}, d.Host, state(d.Status), cell{d.Id, dim})
	if d.Summary != "" {
		p.printf("    %s\n", d.Summary)
	}
	switch {
	case d.Risk.GetHard():
		p.printf("    %s\n", p.score(d.Risk))
	case d.Threshold > 0:
		p.printf("    risk %s; the threshold is %s\n", p.score(d.Risk), pfa.Percent(d.Threshold))
	}
	if d.Model != "" && scored(d.Risk) {
		p.printf("    model %s\n", provenance(d.Model, d.Risk))
	}
	p.printReasons("    ", d.Reasons)
	for _, m := range d.Placements {
		if domain == "" || m.Domain == domain {
			p.printPlacement("    ", m)
		}
	}
	if d.ResolvedBy != "" || d.Resolution != "" {
		p.printf("    %s: %s\n", or(d.ResolvedBy, "outcome"), or(d.Resolution, "no reason given"))
	}
}

func (p *program) printPlacement(indent string, m *managerv1.Placement) {
	to := cell{"→ " + m.Target, green}
	if m.Target == "" {
		to = cell{"stays", red}
	}
	p.printf(indent+"%s %s: %s\n", or(m.DomainName, m.Domain), to, or(m.Why, "-"))
	for _, r := range m.Rejected {
		p.printf(indent+"  not %s: %s\n", r.Host, r.Reason)
	}
}

// explainMigration tells a move; its steps only where it is the subject.
func (p *program) explainMigration(m *managerv1.Migration, steps bool) {
	p.printf("  %s  %s: %s → %s, %s  %s\n", stamp(m.Started), cell{or(m.DomainName, m.Domain), bold}, m.Source, m.Target, state(m.State), cell{m.Id, dim})
	if m.Reason != "" {
		p.printf("    because: %s\n", m.Reason)
	}
	if m.OutcomeReason != "" {
		p.printf("    outcome: %s\n", m.OutcomeReason)
	}
	if m.Waiting != "" && m.Outcome == "" {
		p.printf("    now: %s\n", m.Waiting)
	}
	if m.Downtime != nil {
		p.printf("    down for %s: %s\n", millis(m.Downtime.Total), shares(m.Downtime))
	}
	if !steps {
		return
	}
	wide := 0
	for _, s := range m.Steps {
		wide = max(wide, utf8.RuneCountInString(s.Name))
	}
	for i, s := range m.Steps {
		since := ""
		if i > 0 {
			since = fmt.Sprintf("+%s", short(timeOf(s.At).Sub(timeOf(m.Steps[0].At))))
		}
		name, detail := s.Name, ""
		if s.Detail != "" {
			name, detail = pad(name, wide), "  "+s.Detail
		}
		p.printf("    %s %s  %s%s\n", instant(timeOf(s.At)), pad(since, 7), name, detail)
	}
}
