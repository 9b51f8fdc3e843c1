package main

import (
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name:            "exec",
		Usage:           "run a command inside a host: its network, mounts, host name and processes",
		UsageText:       "vireo-lab exec HOST -- COMMAND [ARGUMENT…]\n\nHOST is h1, h2, …, or manager, or lan: the machine with the guests' disks.",
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if len(args) > 1 && args[1] == "--" {
				args = append(args[:1:1], args[2:]...)
			}
			if len(args) < 2 || args[0] == "-h" || args[0] == "--help" {
				return usage("expected: vireo-lab exec HOST -- COMMAND [ARGUMENT…]")
			}
			l, err := open()
			if err != nil {
				return err
			}
			return become(l, args[0], args[1:])
		},
	}
}

// become replaces this process by a command inside a machine.
func become(l *lab.Lab, machine string, argv []string) error {
	full, err := l.Enter(machine, argv...)
	if err != nil {
		return err
	}
	return unix.Exec(full[0], full, l.Environ(machine))
}
