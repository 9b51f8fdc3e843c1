package main

import "github.com/urfave/cli/v2"

func virshCommand() *cli.Command {
	return &cli.Command{
		Name:            "virsh",
		Usage:           "run virsh on a host",
		UsageText:       "vireo-lab virsh HOST [ARGUMENT…]",
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if len(args) < 1 || args[0] == "-h" || args[0] == "--help" {
				return usage("expected: vireo-lab virsh HOST [ARGUMENT…]")
			}
			l, err := open()
			if err != nil {
				return err
			}
			return become(l, args[0], append([]string{"virsh", "-c", "qemu:///system"}, args[1:]...))
		},
	}
}
