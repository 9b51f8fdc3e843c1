package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) returnCommand() *cli.Command {
	return &cli.Command{
		Name:      "return",
		Usage:     "take a drained or evacuating host back into service",
		ArgsUsage: "HOST",
		Flags:     []cli.Flag{reasonFlag(false), jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ReturnHost,
				&managerv1.ReturnHostRequest{Host: host, Reason: c.String("reason")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			why := ""
			if h := res.GetHost(); h.GetState() != "healthy" { // its risk has not gone with the reason it was emptied for
				why = ", because its risk stands: " + p.score(h.GetRisk())
			}
			p.printf("%s is %s%s.\n", host, state(res.GetHost().GetState()), why)
			return nil
		},
	}
}
