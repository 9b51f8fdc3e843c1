package main

import (
	"context"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show where a host's guests would go if it had to be emptied now, and what would stay",
		ArgsUsage: "HOST",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			plan, err := p.plan(c.Context, host)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(plan)
			}
			return p.printPlan(host, plan)
		},
	}
}

func (p *program) plan(ctx context.Context, host string) (*managerv1.PlanEvacuationResponse, error) {
	return call(ctx, p, managerv1connect.ManagerServiceClient.PlanEvacuation, &managerv1.PlanEvacuationRequest{Host: host})
}

func (p *program) printPlan(host string, plan *managerv1.PlanEvacuationResponse) error {
	t := p.table("DOMAIN", "TO", ">MEMORY", ">ABOUT", "WHY")
	for _, m := range plan.Placements {
		to, about := cell{m.Target, green}, "-"
		if m.Target == "" {
			to = cell{"stays", red}
		} else if m.Estimate != nil {
			about = short(m.Estimate.AsDuration())
		}
		t.row(or(m.DomainName, m.Domain), to, size(m.MemoryKib*1024), about, m.Why)
	}
	if err := t.print(p.out, "no guest runs on "+clean(host)); err != nil {
		return err
	}
	for _, m := range plan.Placements {
		for _, r := range m.Rejected {
			p.printf("%s not to %s: %s\n", or(m.DomainName, m.Domain), r.Host, r.Reason)
		}
	}
	if plan.Estimate.AsDuration() > 0 {
		p.printf("About %s in all.\n", short(plan.Estimate.AsDuration()))
	}
	if plan.Refused != "" {
		p.printf("%s\n", cell{"It would be refused: " + plan.Refused, red})
	}
	return nil
}

// staying counts the guests that have nowhere to go.
func staying(placements []*managerv1.Placement) (n int) {
	for _, m := range placements {
		if m.Target == "" {
			n++
		}
	}
	return n
}
