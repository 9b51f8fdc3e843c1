package main

import "github.com/urfave/cli/v2"

func crashCommand() *cli.Command {
	return &cli.Command{
		Name: "crash", Usage: "end a host as a power cut does; it stays down until boot", UsageText: "vireo-lab crash HOST",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("expected: vireo-lab crash HOST")
			}
			l, err := open()
			if err != nil {
				return err
			}
			return l.Crash(c.Args().First())
		},
	}
}

func bootCommand() *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "start a host that has crashed: libvirtd with its autostart, then the agent", UsageText: "vireo-lab boot HOST",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("expected: vireo-lab boot HOST")
			}
			l, err := open()
			if err != nil {
				return err
			}
			return l.Boot(c.Context, c.Args().First())
		},
	}
}
