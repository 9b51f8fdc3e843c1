package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

// printJSON prints a value for programs, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func hostsCommand() *cli.Command {
	return &cli.Command{
		Name:  "hosts",
		Usage: "list the hosts with their processes and namespaces",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			l, err := open()
			if err != nil {
				return err
			}
			hosts, err := l.HostStates(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, hosts)
			}
			w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
			defer w.Flush()
			fmt.Fprintln(w, "HOST\tADDRESS\tUP\tPID\tLIBVIRTD\tAGENT\tNETNS")
			for _, h := range hosts {
				fmt.Fprintf(w, "%s\t%s\t%t\t%d\t%d\t%d\t%s\n", h.Name, h.Address, h.Up, h.PID, h.Libvirtd, h.Agent, h.Namespaces["net"])
			}
			return nil
		},
	}
}
