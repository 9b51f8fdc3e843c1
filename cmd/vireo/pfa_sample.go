package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaSampleCommand() *cli.Command {
	return &cli.Command{
		Name:      "sample",
		Hidden:    true,
		Usage:     "write drives of a labelled history as daily recordings, SERIAL.csv",
		ArgsUsage: "SERIAL…",
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "data", Required: true, Usage: "`DIR` with the histories"},
			&cli.PathFlag{Name: "out", Required: true, Usage: "`DIR` to write to"},
		},
		Action: func(c *cli.Context) error {
			h, err := readHistory(c.Path("data"))
			if err != nil {
				return badInput(err)
			}
			bySerial := map[string]*pfa.Drive{}
			for i := range h.drives {
				bySerial[h.drives[i].Serial] = &h.drives[i]
			}
			serials := c.Args().Slice()
			if len(serials) == 0 { // the ones that are there already
				if serials, err = recordedSerials(c.Path("out")); err != nil {
					return badInput(err)
				}
			}
			for _, serial := range serials {
				d, ok := bySerial[serial]
				if !ok {
					return badInput(fmt.Errorf("drive %s is not in the history", serial))
				}
				if err := writeWhole(filepath.Join(c.Path("out"), serial+".csv"), d.Daily().CSV()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
