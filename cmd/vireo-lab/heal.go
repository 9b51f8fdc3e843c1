package main

import "github.com/urfave/cli/v2"

func healCommand() *cli.Command {
	return &cli.Command{
		Name: "heal", Usage: "undo every fault that was injected, or those of one link",
		UsageText:   "vireo-lab heal\n   vireo-lab heal link A B",
		Description: "Links, stopped processes, full and read-only disks, smartctl. A host that crashed needs\nvireo-lab boot; what a drive has shown stays shown.",
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			l, err := open()
			if err != nil {
				return err
			}
			switch {
			case len(args) == 0:
				return l.Heal(c.Context)
			case len(args) == 3 && args[0] == "link":
				return l.HealLink(c.Context, args[1], args[2])
			}
			return usage("expected: vireo-lab heal, or vireo-lab heal link A B")
		},
	}
}
