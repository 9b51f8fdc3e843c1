package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

func guestsCommand() *cli.Command {
	return &cli.Command{
		Name:  "guests",
		Usage: "list the guests with their host and QEMU process, as seen from outside",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			l, err := open()
			if err != nil {
				return err
			}
			guests, err := l.GuestStates(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, guests)
			}
			w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
			defer w.Flush()
			fmt.Fprintln(w, "GUEST\tUUID\tADDRESS\tHOST\tQEMU\tPROCESSES")
			for _, g := range guests {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", g.Name, g.UUID, g.Address, g.Host, g.QEMU, len(g.Copies))
			}
			return nil
		},
	}
}
