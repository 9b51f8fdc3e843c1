package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab"
)

const injectUsage = `vireo-lab inject HOST disk --drive SERIAL [--from -25] [--to 0] [--every 1s] [--failed]
vireo-lab inject HOST SERVICE stop|cont|kill|term
vireo-lab inject guest NAME stop|cont|kill
vireo-lab inject link A B cut [--one-way]
vireo-lab inject link A B shape RATE
vireo-lab inject HOST state full|read-only
vireo-lab inject HOST smartctl hang|garbage|missing`

const injectDescription = `disk      replays days of a recorded drive, counted from its last one, as what the host's smartctl
          prints of the root drive; runs until the last day. --failed: on that day the drive says
          of itself that it fails. --drives DIR: where the records are
SERVICE   libvirtd, virtlogd, agent; of HOST manager: manager
link      between two hosts, a host and manager, or a host and storage; RATE as tc takes it: 200mbit
state     the file system of /var/lib/vireo-agent, or of the manager's /var/lib/vireo-manager`

// signals are what can be done to a process.
var signals = map[string]unix.Signal{"stop": unix.SIGSTOP, "cont": unix.SIGCONT, "kill": unix.SIGKILL, "term": unix.SIGTERM}

func injectCommand() *cli.Command {
	return &cli.Command{
		Name: "inject", Usage: "hurt something; heal undoes it", UsageText: injectUsage, Description: injectDescription, SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return cli.ShowSubcommandHelp(c)
			}
			if len(args) < 3 {
				return usage("expected one of\n%s", injectUsage)
			}
			l, err := open()
			if err != nil {
				return err
			}
			return inject(c, l, args)
		},
	}
}

func inject(c *cli.Context, l *lab.Lab, args []string) error {
	what := strings.Join(args, " ")
	switch {
	case args[0] == "link":
		return injectLink(c, l, args[1:])
	case args[0] == "guest" && len(args) == 3 && signals[args[2]] != 0:
		return l.SignalGuest(c.Context, args[1], signals[args[2]])
	case args[1] == "disk":
		return injectDisk(c, l, args[0], args[2:])
	case args[1] == "smartctl" && len(args) == 3 && args[2] != "":
		return l.BreakSmartctl(args[0], args[2])
	case args[1] == "state" && len(args) == 3 && args[2] == "full":
		return l.FillDisk(args[0])
	case args[1] == "state" && len(args) == 3 && args[2] == "read-only":
		return l.ReadOnly(args[0])
	case len(args) == 3 && signals[args[2]] != 0:
		return l.Signal(c.Context, args[0], args[1], signals[args[2]])
	}
	return usage("%q is no fault; expected one of\n%s", what, injectUsage)
}

func injectLink(c *cli.Context, l *lab.Lab, args []string) error {
	switch {
	case len(args) == 3 && args[2] == "cut":
		return l.Cut(c.Context, args[0], args[1], false)
	case len(args) == 4 && args[2] == "cut" && args[3] == "--one-way":
		return l.Cut(c.Context, args[0], args[1], true)
	case len(args) == 4 && args[2] == "shape":
		return l.Shape(c.Context, args[0], args[1], args[3])
	}
	return usage("expected: vireo-lab inject link A B cut [--one-way], or … shape RATE")
}

func injectDisk(c *cli.Context, l *lab.Lab, host string, args []string) error {
	flags := flag.NewFlagSet("inject HOST disk", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var r lab.Replay
	flags.StringVar(&r.Serial, "drive", "", "")
	flags.StringVar(&r.Drives, "drives", "", "")
	flags.IntVar(&r.From, "from", -25, "")
	flags.IntVar(&r.To, "to", 0, "")
	flags.BoolVar(&r.Failed, "failed", false, "")
	flags.DurationVar(&r.Every, "every", time.Second, "")
	if err := flags.Parse(args); err != nil {
		return usage("inject %s disk: %w", host, err)
	}
	if flags.NArg() > 0 || r.Serial == "" {
		return usage("expected: vireo-lab inject HOST disk --drive SERIAL [--from -25] [--to 0] [--every 1s] [--failed]")
	}
	if err := l.Replay(c.Context, host, r, c.App.Writer); errors.Is(err, lab.ErrReplay) {
		return usageError{err}
	} else if err != nil {
		return err
	}
	return nil
}
