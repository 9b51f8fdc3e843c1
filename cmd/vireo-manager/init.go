package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/pki"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "make the CA, the manager's certificate and root's operator certificate",
		Description: "Agents and operators reach the manager only under the names given here; the machine's host name,\n" +
			"localhost, 127.0.0.1 and ::1 are always among them. A CA that is there is never replaced.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringSliceFlag{Name: "name", Usage: "a DNS `NAME` or address of the manager; may be given several times"},
		},
		Action: func(c *cli.Context) error {
			cfg, err := daemon.Config(c, configs.LoadManager)
			if err != nil {
				return err
			}
			names, err := managerNames(c.StringSlice("name"))
			if err != nil {
				return err
			}
			ca, err := pki.Init(cfg.PKIDir, names, "root", time.Now())
			if errors.Is(err, pki.ErrExists) {
				return &daemon.Exit{Code: daemon.ExitRefused, Err: err}
			}
			if err != nil {
				return err
			}
			for _, dir := range []string{cfg.StateDir, cfg.RunDir} {
				if err := os.MkdirAll(dir, 0o750); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(c.App.Writer, "CA              %s (SHA-256 %x)\nmanager         %s\n   names        %s\noperator        %s, role admin\n",
				filepath.Join(cfg.PKIDir, pki.CACertFile), ca.SHA256(), filepath.Join(cfg.PKIDir, pki.ManagerCertFile),
				strings.Join(names, ", "), filepath.Join(cfg.PKIDir, pki.AdminCertFile))
			return err
		},
	}
}

// managerNames adds what always leads to the manager, and keeps the order.
func managerNames(given []string) ([]string, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range append(slices.Clone(given), host, "localhost", "127.0.0.1", "::1") {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names, nil
}

func operatorCommand() *cli.Command {
	return &cli.Command{
		Name:      "operator",
		Usage:     "make a certificate for another operator, or for a program such as Prometheus",
		ArgsUsage: "NAME",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "role", Usage: "`ROLE`: viewer, operator or admin", Value: string(pki.Viewer)},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for operator-NAME.crt and operator-NAME.key", Value: "."},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return daemon.Usage("give one name: vireo-manager operator --role viewer NAME")
			}
			name, role := c.Args().First(), pki.Role(c.String("role"))
			if !role.Valid() {
				return daemon.Usage("--role %q: expected %s, %s or %s", role, pki.Viewer, pki.Operator, pki.Admin)
			}
			if !pki.ValidName(name) {
				return daemon.Usage("%q: expected letters, digits, dots, dashes and underscores", name)
			}
			_, ca, _, err := authority(c)
			if err != nil {
				return err
			}
			issued, err := ca.IssueOperator(name, role, time.Now())
			if err != nil {
				return err
			}
			out := c.String("out")
			if err := issued.Write(out, pki.OperatorCertFile(name), pki.OperatorKeyFile(name)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s, role %s, until %s\n", filepath.Join(out, pki.OperatorCertFile(name)), role, issued.NotAfter.UTC().Format(time.DateOnly))
			return err
		},
	}
}
