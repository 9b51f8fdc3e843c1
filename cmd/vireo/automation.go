package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) automationCommand() *cli.Command {
	set := func(name, usage string, on bool) *cli.Command {
		return &cli.Command{
			Name:  name,
			Usage: usage,
			Flags: []cli.Flag{reasonFlag(true)},
			Action: func(c *cli.Context) error {
				if err := none(c); err != nil {
					return err
				}
				res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.SetAutomation,
					&managerv1.SetAutomationRequest{On: on, Reason: c.String("reason")})
				if err != nil {
					return err
				}
				p.printf("%s\n", automation(res.On, c.String("reason")))
				return nil
			},
		}
	}
	return &cli.Command{
		Name:  "automation",
		Usage: "stop everything that the manager begins by itself, or let it begin again; off, on",
		Subcommands: []*cli.Command{
			set("off", "begin nothing new; what is under way ends, orders by hand are obeyed", false),
			set("on", "act again as the mode says", true),
		},
	}
}
