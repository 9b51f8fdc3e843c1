package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "the configuration",
		Subcommands: []*cli.Command{{
			Name:  "check",
			Usage: "read the configuration and name what is wrong in it (exit 2)",
			Flags: []cli.Flag{configFlag()},
			Action: func(c *cli.Context) error {
				if _, err := daemon.Config(c, configs.LoadManager); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.App.Writer, "%s: good\n", c.String("config"))
				return err
			},
		}, {
			Name:  "default",
			Usage: "print the annotated configuration with every key's default",
			Action: func(c *cli.Context) error {
				_, err := c.App.Writer.Write(configs.ManagerTOML)
				return err
			},
		}},
	}
}
