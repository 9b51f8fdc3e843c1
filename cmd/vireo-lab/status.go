package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the machines, their services, and the guests",
		Action: func(c *cli.Context) error {
			l, err := open()
			if err != nil {
				return err
			}
			if !l.Ready {
				fmt.Fprintln(c.App.Writer, "This lab is not complete: it is being made, or its maker was ended.")
			}
			w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
			defer w.Flush()
			fmt.Fprintf(w, "up since %s\n\nMACHINE\tADDRESS\tPID\tSERVICES\n", l.Since.Format(time.RFC3339))
			for _, name := range l.Machines() {
				m, err := l.Machine(c.Context, name)
				if err != nil {
					return err
				}
				state := "down"
				if m.Up {
					state = fmt.Sprint(m.PID)
				}
				var services []string
				for _, s := range m.Services {
					switch {
					case s.PID > 0 && s.Starts > 1:
						services = append(services, fmt.Sprintf("%s (start %d)", s.Name, s.Starts))
					case s.PID > 0:
						services = append(services, s.Name)
					default:
						services = append(services, fmt.Sprintf("%s: %s", s.Name, s.Exit))
					}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, m.Address, state, strings.Join(services, ", "))
			}
			guests, err := l.GuestStates(c.Context)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "\nGUEST\tADDRESS\tHOST\tQEMU\n")
			for _, g := range guests {
				host := g.Host
				if len(g.Copies) > 1 {
					host += fmt.Sprintf(" (%d processes)", len(g.Copies))
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", g.Name, g.Address, host, g.QEMU)
			}
			return nil
		},
	}
}
