package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/agent/collect"
	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/run"
	"github.com/vireo-kvm/vireo/agent/virt/libvirtd"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "try what the agent needs; with --peer, what a migration to that host needs",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "peer", Usage: "try migration.peer_uri and migration.uri towards `HOST`"},
			&cli.DurationFlag{Name: "timeout", Usage: "give each try this `TIME`", Value: 10 * time.Second},
		},
		Action: func(c *cli.Context) error {
			cfg, err := daemon.Config(c, configs.LoadAgent)
			if err != nil {
				return err
			}
			open, err := libvirtd.New(libvirtd.Options{})
			if err != nil {
				return err
			}
			r := &report{w: c.App.Writer, timeout: c.Duration("timeout")}
			if peer := c.String("peer"); peer != "" {
				p := peerCheck{cfg: cfg.Migration, open: open, tls: systemPKI}
				p.run(c.Context, r, peer)
			} else {
				checkHost(c.Context, r, cfg, open)
			}
			if r.failed > 0 {
				return fmt.Errorf("%d of %d checks failed", r.failed, r.done)
			}
			return nil
		},
	}
}

// report prints one line for each thing that was tried.
type report struct {
	w            io.Writer
	timeout      time.Duration
	done, failed int
}

// try runs one check. What it returns goes behind the name: a detail, or what is
// wrong.
func (r *report) try(ctx context.Context, name string, check func(context.Context) (string, error)) bool {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	detail, err := check(ctx)
	r.done++
	switch {
	case errors.Is(err, collect.ErrAbsent):
		fmt.Fprintf(r.w, "none  %s: %v\n", name, err)
	case err != nil:
		r.failed++
		fmt.Fprintf(r.w, "FAIL  %s: %v\n", name, err)
		return false
	default:
		fmt.Fprintf(r.w, "ok    %s: %s\n", name, detail)
	}
	return true
}

// checkHost tries what vireo-agent run needs.
func checkHost(ctx context.Context, r *report, cfg configs.Agent, open opener) {
	var id dial.Identity
	enrolled := r.try(ctx, "identity in "+cfg.PKIDir, func(context.Context) (string, error) {
		var err error
		if id, err = dial.LoadRenewed(cfg.PKIDir, cfg.StateDir); err != nil {
			return "", err
		}
		if cfg.Host != "" && cfg.Host != id.Host {
			return "", fmt.Errorf("enrolled as %s, but host = %q in the configuration", id.Host, cfg.Host)
		}
		return fmt.Sprintf("%s, until %s", id.Host, id.Certificate.Leaf.NotAfter.UTC().Format(time.DateOnly)), nil
	})
	if enrolled {
		for _, manager := range cfg.Manager {
			r.try(ctx, "manager "+manager, func(ctx context.Context) (string, error) { return greet(ctx, manager, id) })
		}
	}
	r.try(ctx, "libvirt "+cfg.Libvirt.URI, func(ctx context.Context) (string, error) {
		info, err := libvirtHost(ctx, open, cfg.Libvirt.URI)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("host %s, %s", info.UUID, info.Hostname), nil
	})
	for _, dir := range []string{cfg.RunDir, cfg.StateDir} {
		r.try(ctx, "directory "+dir, func(context.Context) (string, error) { return writable(dir) })
	}
	smart := &collect.Smart{Path: cfg.Smartctl, Timeout: min(time.Duration(cfg.SmartTimeout), r.timeout), Runner: new(run.Runner), Drives: &collect.Drives{Sys: cfg.Roots.Sys}}
	r.try(ctx, "drives by "+cfg.Smartctl, func(ctx context.Context) (string, error) {
		got, err := smart.Collect(ctx, time.Now())
		return fmt.Sprintf("%d readings", len(got.Readings)), err
	})
	deps := &collect.Dependencies{Proc: cfg.Roots.Proc, Sys: cfg.Roots.Sys, Dev: cfg.Roots.Dev, Mounts: cfg.Roots.Mounts, Drives: smart.Drives}
	r.try(ctx, "what depends on drives", func(ctx context.Context) (string, error) {
		got, err := deps.Collect(ctx, time.Now())
		if err != nil {
			return "", err
		}
		var on []string
		for _, d := range got.Dependencies {
			if d.GetName() == "/" {
				on = append(on, d.GetComponent())
			}
		}
		return "the root file system is on " + cmp.Or(strings.Join(on, ", "), "no drive of this host"), nil
	})
}

// greet makes the handshake that a session begins with.
func greet(ctx context.Context, manager string, id dial.Identity) (string, error) {
	u, err := url.Parse(manager)
	if err != nil {
		return "", err
	}
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: id.CA, Certificates: []tls.Certificate{id.Certificate}, NextProtos: []string{"h2"}}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	return "its certificate is good until " + state.PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly), nil
}

func writable(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".check.*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString("x"); err != nil {
		f.Close()
		return "", err
	}
	return "can be written", f.Close()
}
