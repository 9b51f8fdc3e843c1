package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/test/lab"
)

func upCommand() *cli.Command {
	var o lab.Options
	return &cli.Command{
		Name:  "up",
		Usage: "make a fleet; there is one at a time",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "hosts", Value: 3, Usage: "`N` hosts", Destination: &o.Hosts},
			&cli.IntFlag{Name: "guests", Value: 4, Usage: "`N` guests", Destination: &o.Guests},
			&cli.IntFlag{Name: "guest-mem", Value: 128, Usage: "memory of each guest, in `MiB`", Destination: &o.GuestMiB},
			&cli.StringFlag{Name: "guests-on", Usage: "start all guests on `HOST` instead of spreading them", Destination: &o.GuestsOn},
			&cli.IntFlag{Name: "dirty-mem", Usage: "`MiB` of its memory that each guest writes over and over", Destination: &o.DirtyMiB},
			&cli.IntFlag{Name: "dirty-rate", Usage: "`MiB` per second that it writes", Destination: &o.DirtyRate},
			&cli.BoolFlag{Name: "no-restart", Usage: "a daemon that ended stays ended", Destination: &o.NoRestart},
			&cli.BoolFlag{Name: "keepalive-short", Usage: "libvirt gives up on a silent peer after 4 s, not 30 s", Destination: &o.ShortKeepalive},
			&cli.StringFlag{Name: "mode", Value: "auto", Usage: "`MODE` of the manager: auto, recommend or shadow", Destination: &o.Mode},
			&cli.StringFlag{Name: "store", Value: "sqlite", Usage: "`ENGINE` of the managers: sqlite, or etcd, with a cluster of three nodes (etcd1, etcd2, etcd3)", Destination: &o.Store},
			&cli.IntFlag{Name: "managers", Value: 1, Usage: "number of managers (manager, manager2, …); several need --store etcd", Destination: &o.Managers},
			&cli.StringFlag{Name: "hook", Value: "off", Usage: "`MODE` of libvirt's hook on the hosts: off, observe or enforce", Destination: &o.Hook},
			&cli.BoolFlag{Name: "no-vireo", Usage: "hosts and guests only, without manager and agents", Destination: &o.NoVireo},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage("up takes no arguments, got %q", c.Args().First())
			}
			begin := time.Now()
			o.Say = func(line string) { fmt.Fprintf(os.Stderr, "%5.1fs  %s\n", time.Since(begin).Seconds(), line) }
			if err := o.Validate(); err != nil {
				return usageError{err}
			}
			l, err := lab.Up(c.Context, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%5.1fs  up: %d hosts, %d guests\n", time.Since(begin).Seconds(), len(l.Hosts), len(l.Guests))
			if !o.NoVireo {
				fmt.Fprintf(os.Stderr, "        eval \"$(%s env)\" lets this shell's vireo talk to it: vireo hosts\n", os.Args[0])
			}
			return nil
		},
	}
}
