package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// refreshEvery is how soon a running manager uses a certificate that was written.
const refreshEvery = 2 * time.Second

func renewCommand() *cli.Command {
	return &cli.Command{
		Name:  "renew",
		Usage: "make the manager's certificate anew, for the same names and more",
		Description: "A running manager takes it into use by itself, within seconds. It also renews its certificate by itself in the\n" +
			"certificate's last year: this command is for more names, and for a manager that was off for long.\n" +
			"The CA, its hash in join tokens, hosts and operators stay as they are.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringSliceFlag{Name: "name", Usage: "another DNS `NAME` or address of the manager; may be given several times"},
		},
		Action: func(c *cli.Context) error {
			for _, n := range c.StringSlice("name") {
				switch {
				case n == "":
					return daemon.Usage("--name is empty")
				case net.ParseIP(n) == nil && !pki.ValidName(n):
					return daemon.Usage("--name: %q is neither a DNS name nor an IP address", n)
				}
			}
			cfg, ca, own, err := authority(c)
			if err != nil {
				return err
			}
			issued, err := ca.RenewManager(own, c.StringSlice("name"), time.Now())
			if err != nil {
				return err
			}
			path := filepath.Join(cfg.PKIDir, pki.ManagerCertFile)
			if err := pki.WriteFile(path, issued.Certificate, 0o644); err != nil {
				return err
			}
			cert, err := pki.ParseCertificate(issued.Certificate)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s, until %s\n   names        %s\n", path, issued.NotAfter.UTC().Format(time.DateOnly), strings.Join(pki.Names(cert), ", "))
			return err
		},
	}
}

// keepCertificate sees to it that the manager's certificate does not end, until
// ctx does.
func (h *house) keepCertificate(ctx context.Context) {
	ticks, stop := daemon.Clock{}.Tick(refreshEvery)
	defer stop()
	said := ""
	for {
		change, err := h.keeper.Refresh(daemon.Clock{}.Now())
		until := h.keeper.Own().Leaf.NotAfter.UTC().Format(time.DateOnly)
		if change != pki.Unchanged {
			h.log.Info("the manager's certificate was "+string(change), "until", until)
		}
		switch {
		case err == nil:
			said = ""
		case change == pki.Renewed:
			// It is in use all the same, and made again at the next start.
			h.log.Warn("the manager's new certificate is not saved", "error", err)
		case err.Error() != said:
			said = err.Error()
			h.log.Error("the manager's certificate", "until", until, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
	}
}
