package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/test/heartbeat"
)

func heartbeatsCommand() *cli.Command {
	return &cli.Command{
		Name:  "heartbeats",
		Usage: "show what the guests went through, measured from outside",
		Description: "A gap is a time over 20 ms without a beat. Two senders are beats of one guest from two hosts\n" +
			"at a time: a double run. Restarts are new boots, rewinds the same boot from an older memory.",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "print it again every second"},
			&cli.BoolFlag{Name: "forget", Usage: "forget everything seen so far, for a fresh measurement"},
		},
		Action: func(c *cli.Context) error {
			l, err := open()
			if err != nil {
				return err
			}
			client := l.Heartbeats()
			if c.Bool("forget") {
				return client.Forget(c.Context)
			}
			show := func(g []heartbeat.Guest) error { return printBeats(c.App.Writer, g) }
			if c.Bool("json") {
				show = func(g []heartbeat.Guest) error { return printJSON(c.App.Writer, g) }
			}
			if c.Bool("follow") {
				if c.Bool("json") {
					show = func(g []heartbeat.Guest) error { return json.NewEncoder(c.App.Writer).Encode(g) }
				}
				err := client.Follow(c.Context, show)
				if errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			}
			guests, err := client.Guests(c.Context)
			if err != nil {
				return err
			}
			return show(guests)
		},
	}
}

func printBeats(out io.Writer, guests []heartbeat.Guest) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GUEST\tHOST\tBOOT\tCOUNTER\tLARGEST GAP\tGAPS\tMOVES\tRESTARTS\tTWO SENDERS\tLOST\tDAMAGE")
	for _, g := range guests {
		fmt.Fprintf(w, "%s\t%s\t%.8s\t%d\t%.0f ms\t%d\t%d\t%d\t%d s\t%d\t%d\n",
			g.Name, g.Host, g.BootID, g.Counter, g.LargestGapMS, len(g.Gaps), len(g.Moves), g.Restarts, g.DoubleSeconds, g.LostBeats, g.PatternErrors+g.DiskErrors)
	}
	return w.Flush()
}
