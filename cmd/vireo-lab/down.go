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
			return lab.Down(func(line string) { fmt.Fprintln(os.Stderr, line) })
		},
	}
}
