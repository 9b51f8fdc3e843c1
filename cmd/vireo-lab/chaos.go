package main

import (
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/test/chaos"
	"github.com/vireo-kvm/vireo/test/lab"
)

func chaosCommand() *cli.Command {
	var o chaos.Options
	var seed uint64
	return &cli.Command{
		Name:  "chaos",
		Usage: "hurt a fleet of its own for a while, in an order that a seed decides, and watch its guests from outside",
		Description: "Brings its own lab up and takes it away. Kills and stops managers, agents, libvirtds and QEMUs, cuts\n" +
			"links (also in the moment in which a transfer completes), fills the manager's disk, crashes and boots\n" +
			"hosts, hurts etcd when it is there; empties hosts, moves guests by hand and starts them twice meanwhile. Exits with 1 when a guest\n" +
			"runs twice, is lost, damaged or set back, or when the fleet does not come to rest.",
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`N` decides what is done, and in which order", Destination: &seed},
			&cli.DurationFlag{Name: "for", Value: 10 * time.Minute, Usage: "no round begins after this `TIME`", Destination: &o.For},
			&cli.StringFlag{Name: "store", Value: "sqlite", Usage: "`ENGINE` of the managers: sqlite, or etcd: three managers and a cluster", Destination: &o.Store},
			&cli.StringFlag{Name: "hook", Value: "enforce", Usage: "`MODE` of libvirt's hook on the hosts: off, observe or enforce", Destination: &o.Hook},
			&cli.BoolFlag{Name: "keep", Usage: "leave the lab up", Destination: &o.Keep},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage("chaos takes no arguments, got %q", c.Args().First())
			}
			if o.For <= 0 {
				return usage("for: %s, expected more than 0", o.For)
			}
			fleet := lab.Options{Store: o.Store, Hook: o.Hook}
			if err := fleet.Validate(); err != nil {
				return usageError{err}
			}
			o.Seed, o.Out = seed, os.Stderr
			rep, err := chaos.Run(c.Context, o)
			if rep != nil && c.Bool("json") {
				err = errors.Join(err, printJSON(c.App.Writer, rep))
			} else if rep != nil {
				rep.Print(c.App.Writer)
			}
			if err == nil && len(rep.Violations) > 0 {
				return errors.New("violated")
			}
			return err
		},
	}
}
