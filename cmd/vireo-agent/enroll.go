package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/virt/libvirtd"
	"github.com/vireo-kvm/vireo/agent/wire/join"
	"github.com/vireo-kvm/vireo/agent/wire/leader"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

func enrollCommand() *cli.Command {
	return &cli.Command{
		Name:  "enroll",
		Usage: "let this host in: exchange a join token for a certificate",
		Description: "The private key is made here and stays here. The token works once; whoever answers at the\n" +
			"manager's URL must have the CA that the token names, or nothing is sent.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "manager", Usage: "`URL` of the manager (default: manager of the configuration)"},
			&cli.StringFlag{Name: "token", Usage: "the join `TOKEN`, or - to read it from standard input", EnvVars: []string{"VIREO_TOKEN"}},
			&cli.StringFlag{Name: "host", Usage: "`NAME` to enrol as (default: host of the configuration, then the machine's host name)"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`", Value: 30 * time.Second},
		},
		Action: enroll,
	}
}

func enroll(c *cli.Context) error {
	cfg, err := daemon.Config(c, configs.LoadAgent)
	if err != nil {
		return err
	}
	host, err := hostName(cfg, c.String("host"))
	if err != nil {
		return err
	}
	token, err := tokenText(c)
	if err != nil {
		return err
	}
	managers := cfg.Manager
	if c.String("manager") != "" {
		managers = configs.URLs{c.String("manager")}
	}
	machine, err := machineID()
	if err != nil {
		return err
	}
	open, err := libvirtd.New(libvirtd.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	info, err := libvirtHost(ctx, open, cfg.Libvirt.URI)
	if err != nil {
		// A storage or network server has none; the manager learns of one later.
		fmt.Fprintf(c.App.ErrWriter, "vireo-agent: no libvirt at %s, enrolling without its host UUID: %v\n", cfg.Libvirt.URI, err)
	}
	var manager string
	for _, manager = range managers { // of several one leads, and only that one lets anybody in
		_, err = dial.Enroll(ctx, dial.Enrolment{
			Manager: manager, Token: token, Host: host, LibvirtUUID: info.UUID, MachineID: machine, Dir: cfg.PKIDir, Now: time.Now,
		})
		if _, follower := leader.Of(err); !follower && !errors.Is(err, dial.ErrUnreachable) {
			break
		}
	}
	switch {
	case errors.Is(err, join.ErrMalformed):
		return daemon.Usage("--token: %w", err)
	case errors.Is(err, dial.ErrStranger):
		return &daemon.Exit{Code: daemon.ExitRefused, Err: fmt.Errorf("%s: %w", manager, err)}
	case errors.Is(err, dial.ErrUnreachable):
		return &daemon.Exit{Code: daemon.ExitUnreachable, Err: fmt.Errorf("%w (set --manager, or manager in %s)", err, c.String("config"))}
	case err != nil:
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s is enrolled at %s; its certificate is in %s\n", host, manager, cfg.PKIDir)
	return err
}

// tokenText keeps the token out of the process list when it is asked to.
func tokenText(c *cli.Context) (string, error) {
	text := c.String("token")
	if text == "-" {
		buf := make([]byte, 4096)
		n, err := os.Stdin.Read(buf)
		if err != nil {
			return "", fmt.Errorf("read the token from standard input: %w", err)
		}
		text = string(buf[:n])
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", daemon.Usage("--token is missing; make one with: vireo agents token --host NAME")
	}
	return text, nil
}
