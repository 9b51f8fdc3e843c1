package main

import (
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/vireo-kvm/vireo/test/demo"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "let a recorded drive die again under one host; its guests are elsewhere in time",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", EnvVars: []string{"KEEP"}, Usage: "leave the lab up"},
			&cli.DurationFlag{Name: "every", Usage: "real `TIME` per recorded day; else a second, or more where the machine is slow"},
		},
		Action: func(c *cli.Context) error {
			tty := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
			_, err := demo.Run(c.Context, demo.Options{Out: c.App.Writer, Color: tty, Keep: c.Bool("keep"), Every: c.Duration("every")})
			return err
		},
	}
}
