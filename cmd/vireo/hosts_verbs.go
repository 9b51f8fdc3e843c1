package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) hostsDeclareDeadCommand() *cli.Command {
	return &cli.Command{
		Name:      "declare-dead",
		Usage:     "vouch that nothing runs on a silent host: its claims are released",
		ArgsUsage: "HOST",
		Description: "Its power is off and stays off, or it has lost every guest for certain: you know it, vireo cannot. What runs there all\n" +
			"the same while its guests are started elsewhere runs twice. The word ends when its agent speaks again.",
		Flags: []cli.Flag{reasonFlag(true), jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.DeclareHostDead,
				&managerv1.DeclareHostDeadRequest{Host: host, Reason: c.String("reason")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			p.printf("%s is dead by your word; %s released.\n", host, counted(len(res.Released), "claim"))
			for _, cl := range res.Released {
				p.printf("  %s  %s\n", or(cl.DomainName, "-"), cell{cl.Domain, dim})
			}
			return nil
		},
	}
}

func (p *program) hostsExcuseCommand() *cli.Command {
	return &cli.Command{
		Name:      "excuse",
		Usage:     "let the recovery after a restore go on without a host's report",
		ArgsUsage: "HOST",
		Flags:     []cli.Flag{reasonFlag(true), jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ExcuseHost,
				&managerv1.ExcuseHostRequest{Host: host, Reason: c.String("reason")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			if len(res.Waiting) > 0 {
				p.printf("%s is excused; the recovery waits for %s.\n", host, strings.Join(res.Waiting, ", "))
				return nil
			}
			p.printf("%s is excused; the recovery has ended.\n", host)
			return nil
		},
	}
}

func (p *program) hostsMaintenanceCommand() *cli.Command {
	return &cli.Command{
		Name:        "maintenance",
		Usage:       "take a host out of service for work on it; its guests stay, it takes nothing new",
		ArgsUsage:   "HOST",
		Description: "vireo evacuate HOST empties it first; vireo return HOST takes it back.",
		Flags:       []cli.Flag{reasonFlag(true), jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			on := true
			return p.setHost(c, &managerv1.SetHostRequest{Host: host, Reason: c.String("reason"), Maintenance: &on})
		},
	}
}

func (p *program) hostsPreferCommand() *cli.Command {
	return &cli.Command{
		Name:      "prefer",
		Usage:     "say where a host's guests go first when they leave",
		ArgsUsage: "HOST",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "target", Usage: "the preferred `HOST`; without it there is none any more"},
			reasonFlag(false), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			target := c.String("target")
			return p.setHost(c, &managerv1.SetHostRequest{Host: host, Reason: c.String("reason"), PreferredTarget: &target})
		},
	}
}

func (p *program) setHost(c *cli.Context, req *managerv1.SetHostRequest) error {
	res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.SetHost, req)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.printJSON(res)
	}
	h := res.GetHost()
	p.printf("%s is %s; its guests go first to %s.\n", h.GetName(), state(h.GetState()), or(h.GetPreferredTarget(), "no host in particular"))
	return nil
}

func (p *program) leftoversCommand() *cli.Command {
	return &cli.Command{
		Name:        "leftovers",
		Usage:       "list what moves, saves and people have left on the hosts; nothing is removed",
		Description: "REMOVE BY HAND is what to run on that host once you are sure.",
		Flags:       []cli.Flag{hostFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListLeftovers, &managerv1.ListLeftoversRequest{Host: c.String("host")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			t := p.table("HOST", "KIND", "DOMAIN", "WHAT", "REMOVE BY HAND")
			for _, l := range res.Leftovers {
				t.row(l.Host, strings.ReplaceAll(l.Kind, "_", " "), or(l.DomainName, l.Domain), l.What, or(l.Remove, "-"))
			}
			return t.print(p.out, "nothing is left over")
		},
	}
}

func (p *program) operatorsCommand() *cli.Command {
	return &cli.Command{
		Name:  "operators",
		Usage: "lock an operator out: revoke certificates",
		Subcommands: []*cli.Command{{
			Name:        "revoke",
			Usage:       "refuse an operator's certificates from now on",
			ArgsUsage:   "NAME",
			Description: "All that were issued to NAME before now, or with --serial only that one. vireo-manager operator NAME makes a new one.",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "serial", Usage: "only the certificate with this serial, in `HEX`"},
				reasonFlag(true),
			},
			Action: func(c *cli.Context) error {
				name, err := one(c, "NAME")
				if err != nil {
					return err
				}
				_, err = call(c.Context, p, managerv1connect.ManagerServiceClient.RevokeOperator,
					&managerv1.RevokeOperatorRequest{Name: name, Reason: c.String("reason"), Serial: c.String("serial")})
				if err == nil {
					p.printf("Certificates of %s are refused.\n", name)
				}
				return err
			},
		}},
	}
}
