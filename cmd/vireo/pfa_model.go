package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
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
				if memory, err := loadMemory(path); err != nil || memory != nil {
					if err == nil && c.Bool("json") {
						return writeJSON(c, memory.Header())
					}
					if err == nil {
						_, err = fmt.Fprint(c.App.Writer, memory.Card())
					}
					return err
				}
				m, err := loadModel(path)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return writeJSON(c, m.Header())
				}
				_, err = fmt.Fprint(c.App.Writer, m.Card())
				return err
			},
		}},
	}
}

// loadMemory reads a memory model; nil when path is "" or holds a model of
// another kind.
func loadMemory(path string) (*pfa.MemoryModel, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, badInput(err)
	}
	if !pfa.IsMemory(b) {
		return nil, nil
	}
	m, err := pfa.LoadMemory(b)
	if err != nil {
		return nil, badInput(fmt.Errorf("%s: %w", path, err))
	}
	return m, nil
}

func writeJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
