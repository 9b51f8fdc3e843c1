package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/test/lab"
)

// version is set when the program is linked.
var version = "unknown"

// Exit codes, as of all of vireo's programs.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const description = `A fleet of KVM hosts on this machine: a real libvirtd and real (emulated) guests on
each host, in namespaces of its own. Needs root; uses no KVM.

   vireo-lab up --hosts 3 --guests 4     make it
   vireo-lab status                      see it
   vireo-lab virsh h1 list               look at a host as its administrator would
   vireo-lab exec h1 -- ps ax            run anything inside a host
   vireo-lab heartbeats --json           what the guests went through, measured from outside
   eval "$(vireo-lab env)"               let this shell's vireo talk to the lab's manager
   vireo-lab inject h2 libvirtd stop     hurt it; "vireo-lab heal" undoes it
   vireo-lab down                        take it away, whatever state it is in

Guests send a beat every 10 ms with their boot id and a counter. What migrations and
faults did to them is in "vireo-lab heartbeats": gaps, restarts, double runs, damage.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:            "vireo-lab",
		Usage:           "a KVM fleet on one machine",
		Description:     description,
		Version:         version,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // the end of this function decides
		Commands: slices.Concat(
			cmdline.Under("Fleet", upCommand(), downCommand(), envCommand()),
			cmdline.Under("Hurt", injectCommand(), healCommand(), crashCommand(), bootCommand()),
			cmdline.Under("Look", statusCommand(), hostsCommand(), guestsCommand(), heartbeatsCommand(), logsCommand(), execCommand(), virshCommand()),
			cmdline.Under("Whole runs, each with a fleet of its own", demoCommand(), chaosCommand()),
			[]*cli.Command{hostInitCommand(), receiverCommand()}, // hidden: the lab runs them itself
		),
	}
	app.Action = cmdline.Group(app.Commands, cli.ShowAppHelp, func(text string) error { return usage("%s", text) })
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage("%w", err) }
	for _, c := range app.Commands {
		c.OnUsageError = app.OnUsageError
		c.HideHelpCommand = true
		for _, f := range c.Flags {
			if f, ok := f.(*cli.BoolFlag); ok {
				f.DisableDefaultText = true // a switch is off until it is given
			}
		}
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "vireo-lab:", err)
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	default:
		return exitFailed
	}
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// open returns the lab that is up.
func open() (*lab.Lab, error) { return lab.Open() }
