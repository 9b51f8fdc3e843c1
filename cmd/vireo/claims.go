package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/pfa"
)

func (p *program) claimsCommand() *cli.Command {
	return &cli.Command{
		Name:  "claims",
		Usage: "list who may run what; grant, release, move, resolve",
		Flags: []cli.Flag{
			hostFlag(), jsonFlag(),
			&cli.BoolFlag{Name: "local", Usage: "on a hypervisor: what its agent's journal says, without asking the manager"},
			&cli.StringFlag{Name: "agent-config", Value: configs.AgentPath, Usage: "with --local: the agent's configuration `FILE`"},
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			if c.Bool("local") {
				return p.claimsLocal(c)
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListClaims, &managerv1.ListClaimsRequest{Host: c.String("host")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			t := p.table("DOMAIN", "HOLDER", "PHASE", ">EPOCH", "TARGET", "FOR", "SEEN", "GRANTED BY", ">RISK THEN", "ATTEMPT", "UUID")
			for _, m := range res.Claims {
				then := "-"
				if m.RiskAtGrant > 0 {
					then = pfa.Percent(m.RiskAtGrant)
				}
				t.row(or(m.DomainName, "-"), m.Holder, state(m.Phase), count(m.Epoch), or(m.Target, "-"), p.ago(m.Since), p.ago(m.Seen)+" ago",
					or(m.GrantedBy, "-"), then, or(m.Attempt, "-"), m.Domain)
			}
			return t.print(p.out, "no claim is held")
		},
		Subcommands: []*cli.Command{p.claimsGrantCommand(), p.claimsReleaseCommand(), p.claimsMoveCommand(), p.claimsResolveCommand()},
	}
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }
