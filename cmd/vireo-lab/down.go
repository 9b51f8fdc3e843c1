package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/test/lab"
)

func downCommand() *cli.Command {
	return &cli.Command{
		Name:  "down",
		Usage: "take the fleet away, whatever state it is in; nothing is left but the cache",
		Action: func(*cli.Context) error {
			what := "no lab was up; nothing is left of an earlier one"
			if l, err := open(); err == nil {
				what = fmt.Sprintf("down: %d hosts and %d guests are gone", len(l.Hosts), len(l.Guests))
			}
			err := lab.Down(func(line string) { fmt.Fprintln(os.Stderr, line) })
			if err == nil {
				fmt.Fprintln(os.Stderr, what)
			}
			return err
		},
	}
}
