package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/pfa"
)

func (p *program) decisionsCommand() *cli.Command {
	return &cli.Command{
		Name:  "decisions",
		Usage: "list what the manager decided, newest first; approve, reject",
		Flags: []cli.Flag{
			hostFlag(),
			&cli.BoolFlag{Name: "waiting", Usage: "only those that wait for an answer"},
			&cli.UintFlag{Name: "limit", Value: 20, Usage: "at most `N`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListDecisions, &managerv1.ListDecisionsRequest{
				Host: c.String("host"), WaitingOnly: c.Bool("waiting"), Limit: uint32(c.Uint("limit"))})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			t := p.table("DECISION", "AGO", "HOST", "KIND", "STATUS", ">RISK", ">THRESHOLD", "SUMMARY")
			waiting := 0
			for _, d := range res.Decisions {
				threshold := "-"
				if d.Threshold > 0 {
					threshold = pfa.Percent(d.Threshold)
				}
				if d.Status == "waiting" || d.Status == "held_back" { // both take an answer
					waiting++
				}
				t.row(d.Id, p.ago(d.At), d.Host, d.Kind, state(d.Status), risk(d.Risk), threshold, d.Summary)
			}
			if err := t.print(p.out, "nothing has been decided"); err != nil {
				return err
			}
			if waiting > 0 {
				p.notef("%s: vireo decisions approve ID --reason WORDS, or reject; vireo explain host HOST says why.\n", counted(waiting, "decision")+" waiting")
			}
			return nil
		},
		Subcommands: []*cli.Command{
			p.resolveCommand("approve", "let the manager do what it decided", true),
			p.resolveCommand("reject", "keep the manager from doing it", false),
		},
	}
}

func (p *program) resolveCommand(name, usage string, approve bool) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		ArgsUsage: "DECISION",
		Flags:     []cli.Flag{reasonFlag(true), jsonFlag()},
		Action: func(c *cli.Context) error {
			id, err := one(c, "DECISION")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ResolveDecision,
				&managerv1.ResolveDecisionRequest{Id: id, Approve: approve, Reason: c.String("reason")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			d := res.Decision
			p.printf("%s is %s: %s\n", d.GetId(), state(d.GetStatus()), d.GetSummary())
			return nil
		},
	}
}
