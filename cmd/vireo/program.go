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

	"github.com/vireo-kvm/vireo/cmd/internal/help"
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
	err := app.RunContext(ctx, append([]string{app.Name}, flagsFirst(app, args)...))
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
			help.Under("Look", p.hostsCommand(), p.hostCommand(), p.domainsCommand(), p.domainCommand(), p.claimsCommand(), p.riskCommand(),
				p.migrationsCommand(), p.decisionsCommand(), p.explainCommand(), p.eventsCommand(), p.statusCommand(), p.leftoversCommand(),
				p.virshCommand()),
			help.Under("Operate", p.planCommand(), p.evacuateCommand(), p.returnCommand(), p.automationCommand()),
			help.Under("Predict", p.pfaCommand()),
			help.Under("Set up", p.agentsCommand(), p.operatorsCommand(), p.storeCommand()),
		),
	}
	app.Action = group(app.Commands, cli.ShowAppHelp)
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
			c.Action = group(c.Subcommands, cli.ShowSubcommandHelp)
			continue
		}
		action, needed := c.Action, needed(c.Flags)
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

// needed are the names of required flags, which from now on are not the
// library's to check: it would print the whole help for a forgotten one.
func needed(flags []cli.Flag) (names []string) {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			if f.Required {
				f.Required, names = false, append(names, f.Name)
			}
		case *cli.PathFlag:
			if f.Required {
				f.Required, names = false, append(names, f.Name)
			}
		}
	}
	return names
}

// group is the action of a command that only has subcommands: help when there is
// nothing more, else a refusal that names what there is.
func group(commands []*cli.Command, help func(*cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if !c.Args().Present() {
			return help(c)
		}
		return usagef("no command %q; there are %s", c.Args().First(), shown(commands))
	}
}

// shown names the commands that are not hidden, in words.
func shown(commands []*cli.Command) string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return list(names)
}

// usageError is about how a command was called.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

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
	var usage usageError
	var coder cli.ExitCoder
	var refusal *apierr.Error
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &exit):
		return exit.code, exit.text
	case ctx.Err() != nil:
		return exitInterrupted, "interrupted"
	case errors.As(err, &usage):
		return apierr.ExitInput, usage.Error()
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
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", usagef("%s: expected %s, got %d arguments", c.Command.HelpName, what, c.NArg())
	}
	return c.Args().First(), nil
}

// none refuses arguments. After a command that also has subcommands, an argument
// is most likely a misspelt one, so the refusal names them.
func none(c *cli.Context) error {
	if c.NArg() == 0 {
		return nil
	}
	text := fmt.Sprintf("%s: unexpected argument %q", c.Command.HelpName, c.Args().First())
	if len(c.Command.Subcommands) > 0 {
		text += "; its commands are " + shown(c.Command.Subcommands)
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

// flagsFirst moves flags before arguments, because the library stops looking for
// flags at the first argument, and people write `vireo evacuate h1 --dry-run`.
func flagsFirst(app *cli.App, args []string) []string {
	commands, flags := app.Commands, app.Flags
	var out []string
	for len(args) > 0 { // the commands' names, with flags of groups between them
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[0]) })
		if i < 0 {
			break
		}
		out, args = append(out, args[0]), args[1:]
		if commands[i].SkipFlagParsing {
			return append(out, args...)
		}
		commands, flags = commands[i].Subcommands, commands[i].Flags
	}
	var options, arguments []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			arguments = append(append(arguments, "--"), args...)
			args = nil
		case len(arg) > 1 && arg[0] == '-':
			options = append(options, arg)
			if takesValue(flags, arg) && len(args) > 0 {
				options, args = append(options, args[0]), args[1:]
			}
		default:
			arguments = append(arguments, arg)
		}
	}
	if i := slices.Index(arguments, "--"); i > 0 { // all before it are arguments as well
		arguments = append([]string{"--"}, slices.Delete(arguments, i, i+1)...)
	}
	return append(append(out, options...), arguments...)
}

// takesValue says whether the flag's value is the next argument.
func takesValue(flags []cli.Flag, arg string) bool {
	for _, f := range flags {
		for _, name := range f.Names() {
			if arg == "-"+name || arg == "--"+name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false // unknown, or with its value behind a =
}

// hostFlag is --host as a filter.
func hostFlag() *cli.StringFlag { return &cli.StringFlag{Name: "host", Usage: "only this `HOST`"} }

// status is read by several commands.
func (p *program) status(ctx context.Context) (*managerv1.GetStatusResponse, error) {
	return call(ctx, p, managerv1connect.ManagerServiceClient.GetStatus, &managerv1.GetStatusRequest{})
}
