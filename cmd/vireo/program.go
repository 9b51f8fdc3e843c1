package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

// What the program exits with, beside 0 and what apierr.ExitCode says.
const (
	exitPartly      = 5   // some guests stayed
	exitInterrupted = 130 // as a shell says it of SIGINT
)

// program is vireo with everything it takes from outside, so that a test can
// run it whole.
type program struct {
	in       io.Reader
	out, err io.Writer
	asks     bool // somebody can be asked: input is a terminal
	shows    bool // output is a terminal: colours and bars
	screen   func() (columns, rows int)
	getenv   func(string) string
	root     bool   // runs as root, whom the manager's socket knows
	socket   string // where that is
	now      func() time.Time
	pause    func(context.Context, time.Duration) error

	// connect makes the client; nil: from configuration and environment.
	connect func() (managerv1connect.ManagerServiceClient, string, error)
	client  managerv1connect.ManagerServiceClient
	where   string            // that the client connects to, with who said so
	names   map[string]string // of domains by UUID, as far as asked for
}

// run runs one command line, says on err what went wrong, and returns the exit
// code.
func (p *program) run(ctx context.Context, args []string) int {
	app := p.app()
	err := app.RunContext(ctx, append([]string{app.Name}, cmdline.FlagsFirst(app, args)...))
	code, text := p.verdict(ctx, err)
	if text != "" {
		if !strings.HasPrefix(text, app.Name+" ") { // else it names the command already
			text = app.Name + ": " + text
		}
		fmt.Fprintln(p.err, text)
	}
	return code
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:    "vireo",
		Usage:   "keep KVM guests ahead of hardware failure",
		Version: version,
		Description: "Connects to VIREO_MANAGER (https://HOST:7443), else to manager in cli.toml (VIREO_CONFIG, ~/.config/vireo/cli.toml,\n" +
			"/etc/vireo/cli.toml), else, as root, to the manager on this machine. Lists and shows take --json.\n\n" +
			"   vireo hosts               who is healthy, who is at risk, who reports\n" +
			"   vireo explain host h1     why, from the stored evidence\n" +
			"   vireo plan h1             where its guests would go\n" +
			"   vireo evacuate h1         move them there, while they run\n\n" +
			"Exit codes: 0 done, 1 failed, 2 usage, configuration or input, 3 manager unreachable, 4 refused, 5 partly done\n" +
			"(guests stayed), 130 interrupted.",
		Writer: p.out, ErrWriter: p.err,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,                         // reasons have commas
		ExitErrHandler:            func(*cli.Context, error) {}, // run says it
		Commands: slices.Concat(
			cmdline.Under("Look", p.hostsCommand(), p.hostCommand(), p.domainsCommand(), p.domainCommand(), p.claimsCommand(), p.riskCommand(),
				p.migrationsCommand(), p.decisionsCommand(), p.explainCommand(), p.eventsCommand(), p.statusCommand(), p.leftoversCommand(),
				p.virshCommand()),
			cmdline.Under("Operate", p.planCommand(), p.evacuateCommand(), p.returnCommand(), p.automationCommand()),
			cmdline.Under("Predict", p.pfaCommand()),
			cmdline.Under("Set up", p.agentsCommand(), p.operatorsCommand(), p.storeCommand()),
		),
	}
	app.Action = cmdline.Group(app.Commands, cli.ShowAppHelp, usage)
	arm(app.Commands)
	return app
}

// actionError is what a command's own code returned; anything else that comes
// out of the library is about how the command was called.
type actionError struct{ error }

func (e actionError) Unwrap() error { return e.error }

// arm makes each command's errors actionErrors, and each group refuse what it
// does not know instead of printing its help.
func arm(commands []*cli.Command) {
	for _, c := range commands {
		arm(c.Subcommands)
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return usagef("%s: %v; see %[1]s --help", c.HelpName, err)
		}
		for _, f := range c.Flags {
			if f, ok := f.(*cli.BoolFlag); ok {
				f.DisableDefaultText = true // a switch is off until it is given
			}
		}
		if c.Action == nil {
			c.Action = cmdline.Group(c.Subcommands, cli.ShowSubcommandHelp, usage)
			continue
		}
		action, needed := c.Action, cmdline.Needed(c.Flags)
		c.Action = func(ctx *cli.Context) error {
			for _, name := range needed {
				if ctx.String(name) == "" {
					return usagef("%s: --%s is needed", ctx.Command.HelpName, name)
				}
			}
			if err := action(ctx); err != nil {
				return actionError{err}
			}
			return nil
		}
	}
}

// usageError is about how a command was called.
type usageError string

func (e usageError) Error() string { return string(e) }

func usage(text string) error { return usageError(text) }

func usagef(format string, args ...any) error { return usage(fmt.Sprintf(format, args...)) }

// exitError is an exit code that the command has chosen itself, with what is
// left to say, which may be nothing.
type exitError struct {
	code int
	text string
}

func (e exitError) Error() string { return e.text }

// verdict is the exit code of an error, and what to say.
func (p *program) verdict(ctx context.Context, err error) (int, string) {
	var exit exitError
	var wrong usageError
	var coder cli.ExitCoder
	var refusal *apierr.Error
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &exit):
		return exit.code, exit.text
	case ctx.Err() != nil:
		return exitInterrupted, "interrupted"
	case errors.As(err, &wrong):
		return apierr.ExitInput, wrong.Error()
	case errors.As(err, &coder):
		return coder.ExitCode(), err.Error()
	case !errors.As(err, new(actionError)):
		return apierr.ExitInput, err.Error() + " (try --help)"
	}
	if e, ok := apierr.FromConnect(err); ok {
		refusal = e
		return apierr.ExitCode(err), refusal.Text
	}
	return p.unanswered(err)
}

// manager is the client of the manager, connected when first used.
func (p *program) manager() (managerv1connect.ManagerServiceClient, error) {
	if p.client != nil {
		return p.client, nil
	}
	connect := p.connect
	if connect == nil {
		connect = p.configured
	}
	var err error
	p.client, p.where, err = connect()
	return p.client, err
}

// one is the command's single argument.
func one(c *cli.Context, what string) (string, error) {
	if c.NArg() == 1 && c.Args().First() != "" {
		return c.Args().First(), nil
	}
	text := fmt.Sprintf("%s: expected %s, got %d arguments", c.Command.HelpName, what, c.NArg())
	switch example := examples[what]; {
	case example != "":
		text += fmt.Sprintf("; for example: %s %s", c.Command.HelpName, example)
	case listings[what] != "":
		text += "; " + listings[what] + " shows them"
	}
	return "", usage(text)
}

// examples are what an argument may look like, by its name in the help.
var examples = map[string]string{"HOST": "h1", "DOMAIN": "g1", "NAME": "alice", "COMPONENT": "disk:Z300V1RR"}

// listings are the commands that show the ids which nobody makes up.
var listings = map[string]string{"MIGRATION": "vireo migrations", "DECISION": "vireo decisions"}

// none refuses arguments. After a command that also has subcommands, an argument
// is most likely a misspelt one, so the refusal names them.
func none(c *cli.Context) error {
	if c.NArg() == 0 {
		return nil
	}
	text := fmt.Sprintf("%s: unexpected argument %q", c.Command.HelpName, c.Args().First())
	if len(c.Command.Subcommands) > 0 {
		text += "; its commands are " + cmdline.Names(c.Command.Subcommands)
	}
	return usageError(text)
}

// atMostOne is the command's argument, "" when there is none.
func atMostOne(c *cli.Context, what string) (string, error) {
	if c.NArg() > 1 {
		return "", usagef("%s: expected at most %s, got %d arguments", c.Command.HelpName, what, c.NArg())
	}
	return c.Args().First(), nil
}

// hostFlag is --host as a filter.
func hostFlag() *cli.StringFlag { return &cli.StringFlag{Name: "host", Usage: "only this `HOST`"} }

// status is read by several commands.
func (p *program) status(ctx context.Context) (*managerv1.GetStatusResponse, error) {
	return call(ctx, p, managerv1connect.ManagerServiceClient.GetStatus, &managerv1.GetStatusRequest{})
}
