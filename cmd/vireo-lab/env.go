package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func envCommand() *cli.Command {
	return &cli.Command{
		Name:  "env",
		Usage: `print what a shell needs to talk to the lab: eval "$(vireo-lab env)"`,
		Action: func(c *cli.Context) error {
			l, err := open()
			if err != nil {
				return err
			}
			for _, kv := range l.Exports() {
				fmt.Fprintf(c.App.Writer, "export %s\n", kv)
			}
			return nil
		},
	}
}
