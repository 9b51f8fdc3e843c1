package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
)

// Exit codes of all of vireo's programs, as far as a daemon uses them.
const (
	ExitFailed      = 1
	ExitUsage       = 2 // the command line, the configuration, or other input
	ExitUnreachable = 3
	ExitRefused     = 4
	ExitInterrupted = 130
)

// Exit is an error with its exit code.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *Exit) Unwrap() error { return e.Err }

// Usage is an error in what the user has given.
func Usage(format string, args ...any) error { return &Exit{ExitUsage, fmt.Errorf(format, args...)} }

func usage(text string) error { return Usage("%s", text) }

// Main runs a program: args, signals and exit code. SIGTERM and SIGINT end the
// context of the command that runs.
func Main(app *cli.App) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(Run(ctx, app, os.Args, os.Stderr))
}

// Run is Main without a process around it.
func Run(ctx context.Context, app *cli.App, args []string, stderr io.Writer) int {
	app.ExitErrHandler = func(*cli.Context, error) {} // this function decides
	app.HideHelpCommand = true
	app.ErrWriter = stderr
	arm(app.Commands)
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return Usage("%w", err) }
	app.Action = cmdline.Group(app.Commands, cli.ShowAppHelp, usage)
	err := app.RunContext(ctx, append(args[:1:1], cmdline.FlagsFirst(app, args[1:])...))
	if err == nil {
		return 0
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "%s: %s\n", app.Name, strings.TrimRight(line, "\n"))
	}
	return code(ctx, err)
}

// arm makes each command say by itself how it was called wrongly, in one line.
func arm(commands []*cli.Command) {
	for _, c := range commands {
		arm(c.Subcommands)
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return Usage("%w", err) }
		c.HideHelpCommand = true
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
			if c.ArgsUsage == "" && ctx.Args().Present() {
				return Usage("%s: unexpected argument %q", c.Name, ctx.Args().First())
			}
			for _, name := range needed {
				if ctx.String(name) == "" {
					return Usage("%s: --%s is needed", c.Name, name)
				}
			}
			return action(ctx)
		}
	}
}

func code(ctx context.Context, err error) int {
	var exit *Exit
	switch {
	case errors.As(err, &exit):
		return exit.Code
	case ctx.Err() != nil:
		return ExitInterrupted
	}
	return apierr.ExitCode(err)
}

// Log makes the program's logger, on stderr.
func Log(c configs.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(c.Level)) != nil { // configs has checked it
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Clock is the machine's.
type Clock struct{}

// Now carries a monotonic reading.
func (Clock) Now() time.Time { return time.Now() }

// After sends once when d has passed; stop frees the timer.
func (Clock) After(d time.Duration) (<-chan time.Time, func()) {
	timer := time.NewTimer(d)
	return timer.C, func() { timer.Stop() }
}

// Tick sends the time about every d until stop is called.
func (Clock) Tick(d time.Duration) (<-chan time.Time, func()) {
	ticker := time.NewTicker(d)
	return ticker.C, ticker.Stop
}

// Notify tells systemd a state such as "READY=1" (sd_notify(3)); without systemd
// it does nothing.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
