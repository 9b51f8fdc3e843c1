package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt/libvirtd"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

// proveWait is how long the proof may take: the start of a domain that does not
// start.
const proveWait = 20 * time.Second

func hookCommand() *cli.Command {
	return &cli.Command{
		Name:  "hook",
		Usage: "enforce claims on this host by libvirt's hook: install, uninstall, status",
		Subcommands: []*cli.Command{{
			Name:   "install",
			Usage:  "write " + hook.File() + " and prove that the running libvirtd calls it; hook.mode says what it does",
			Flags:  []cli.Flag{configFlag()},
			Action: installHook,
		}, {
			Name:   "uninstall",
			Usage:  "remove it: claims are not enforced on this host any more",
			Action: uninstallHook,
		}, {
			Name:   "status",
			Usage:  "say whether it is installed, called, and in which mode (exit 1 when it is not called)",
			Flags:  []cli.Flag{configFlag()},
			Action: hookStatus,
		}},
	}
}

// hookProgram is vireo-hook, which lies beside this program.
func hookProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	program := filepath.Join(filepath.Dir(self), "vireo-hook")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("the program that libvirtd would execute is missing: %w", err)
	}
	return program, nil
}

func installHook(c *cli.Context) error {
	cfg, err := daemon.Config(c, configs.LoadAgent)
	if err != nil {
		return err
	}
	config, err := filepath.Abs(c.String("config"))
	if err != nil {
		return err
	}
	program, err := hookProgram()
	if err != nil {
		return err
	}
	changed, err := hook.Install(hook.File(), hook.Script(program, config))
	if err != nil {
		return err
	}
	did := "installed"
	if !changed {
		did = "is installed already"
	}
	fmt.Fprintf(c.App.Writer, "%s %s, mode %s\n", hook.File(), did, cfg.Hook.Mode)
	return proveHook(c, cfg)
}

func uninstallHook(c *cli.Context) error {
	was, err := hook.Uninstall(hook.File())
	if err != nil {
		return err
	}
	if !was {
		fmt.Fprintf(c.App.Writer, "%s is not installed\n", hook.File())
		return nil
	}
	fmt.Fprintf(c.App.Writer, "%s removed\n", hook.File())
	return nil
}

func hookStatus(c *cli.Context) error {
	cfg, err := daemon.Config(c, configs.LoadAgent)
	if err != nil {
		return err
	}
	script, err := hook.Installed(hook.File())
	switch {
	case err != nil:
		return err
	case script == "":
		return fmt.Errorf("%s is not installed: vireo-agent hook install", hook.File())
	}
	fmt.Fprintf(c.App.Writer, "%s is installed, mode %s\n", hook.File(), cfg.Hook.Mode)
	if program, err := hookProgram(); err == nil {
		if config, err := filepath.Abs(c.String("config")); err == nil && script != hook.Script(program, config) {
			fmt.Fprintf(c.App.Writer, "it calls another program or configuration than this one: vireo-agent hook install writes it anew\n")
		}
	}
	return proveHook(c, cfg)
}

// proveHook tries whether the running libvirtd calls the hook.
func proveHook(c *cli.Context, cfg configs.Agent) error {
	open, err := libvirtd.New(libvirtd.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, proveWait)
	defer cancel()
	conn, err := open(ctx, cfg.Libvirt.URI, nil)
	if err != nil {
		return fmt.Errorf("it could not be proved: %w", err)
	}
	defer conn.Close()
	if err := hook.Probe(ctx, conn); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, "the running libvirtd calls it")
	if cfg.Hook.Mode == configs.HookObserve {
		fmt.Fprintln(c.App.Writer, `it refuses nothing yet: hook.mode = "enforce" makes it`)
	}
	return nil
}

// allowFor is how long an allowance holds unless --for says otherwise.
const allowFor = 10 * time.Minute

func allowCommand() *cli.Command {
	return &cli.Command{
		Name:      "allow",
		Usage:     "let a domain start on this host once without a claim; make sure that it runs nowhere else",
		ArgsUsage: "DOMAIN",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "reason", Required: true, Usage: "why, in `WORDS`, for the record"},
			&cli.DurationFlag{Name: "for", Value: allowFor, Usage: "forget it after this `TIME`"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 || c.Args().First() == "" {
				return daemon.Usage("expected one DOMAIN, by name or UUID; for example: vireo-agent allow g1 --reason WORDS")
			}
			if d := c.Duration("for"); d <= 0 || d > 24*time.Hour {
				return daemon.Usage("--for %s: expected more than 0 and 24h at most", d)
			}
			cfg, err := daemon.Config(c, configs.LoadAgent)
			if err != nil {
				return err
			}
			a := hook.Allowance{Domain: c.Args().First(), Reason: c.String("reason"), Until: time.Now().Add(c.Duration("for"))}
			if err := hook.GiveAllowance(cfg.RunDir, a); err != nil {
				if errors.Is(err, os.ErrPermission) {
					return fmt.Errorf("%w (only root may)", err)
				}
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s may start here once without a claim, until %s\n", a.Domain, a.Until.UTC().Format(time.DateTime+"Z"))
			return nil
		},
	}
}
