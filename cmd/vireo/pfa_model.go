package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"
)

func pfaModelCommand() *cli.Command {
	return &cli.Command{
		Name:  "model",
		Usage: "look at a model",
		Subcommands: []*cli.Command{{
			Name:      "show",
			Usage:     "show what a model was made from and how well it does",
			ArgsUsage: "[FILE.vpfa]",
			Flags:     []cli.Flag{modelFlag, &cli.BoolFlag{Name: "json", Usage: "print the header as JSON"}},
			Action: func(c *cli.Context) error {
				path := c.String("model")
				if c.NArg() > 0 {
					path = c.Args().First()
				}
				m, err := loadModel(path)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					e := json.NewEncoder(c.App.Writer)
					e.SetIndent("", "  ")
					return e.Encode(m.Header())
				}
				_, err = fmt.Fprint(c.App.Writer, m.Card())
				return err
			},
		}},
	}
}
