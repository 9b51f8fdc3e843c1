package main

import (
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) agentsCommand() *cli.Command {
	return &cli.Command{
		Name:        "agents",
		Usage:       "let a host's agent join: print a join token",
		Subcommands: []*cli.Command{p.agentsTokenCommand()},
	}
}

func (p *program) agentsTokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "print a token that enrols one host, once (vireo-agent enroll)",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "host", Required: true, Usage: "`NAME` that the host will have"},
			&cli.DurationFlag{Name: "valid", Value: time.Hour, Usage: "`TIME` in which it can be used"},
			&cli.BoolFlag{Name: "replace", Usage: "the name is known: the new host takes its place and inherits nothing"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			if c.Duration("valid") <= 0 {
				return usagef("--valid %s: expected a time from now, such as 1h", c.Duration("valid"))
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.CreateToken, &managerv1.CreateTokenRequest{
				Host: c.String("host"), ValidFor: durationpb.New(c.Duration("valid")), Replace: c.Bool("replace")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			p.printf("%s\n", res.Token) // alone on the output, so that a script can take it
			p.notef("For %s, once, until %s.\n", c.String("host"), stamp(res.Expires))
			return nil
		},
	}
}
