package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/agent/collect"
	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/run"
	"github.com/vireo-kvm/vireo/agent/virsh"
	"github.com/vireo-kvm/vireo/agent/virt/libvirtd"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
)

const (
	// sweep is how often the kernel's counters are read.
	sweep = 30 * time.Second
	// dependencySweep is short: a new domain's image must not look as if nothing
	// needed the drive below it.
	dependencySweep = 5 * time.Second
	// readTimeout is for reading files of /proc and /sys.
	readTimeout = 10 * time.Second
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run the agent until it is told to stop",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			cfg, err := daemon.Config(c, configs.LoadAgent)
			if err != nil {
				return err
			}
			log := daemon.Log(cfg.Log, os.Stderr)
			return runAgent(c.Context, cfg, log)
		},
	}
}

// runAgent is the agent with everything around it.
func runAgent(ctx context.Context, cfg configs.Agent, log *slog.Logger) error {
	id, err := dial.LoadRenewed(cfg.PKIDir, cfg.StateDir)
	if errors.Is(err, dial.ErrNotEnrolled) {
		return &daemon.Exit{Code: daemon.ExitUsage, Err: err}
	}
	if err != nil {
		return err
	}
	if cfg.Host != "" && cfg.Host != id.Host {
		return daemon.Usage("host = %q in the configuration, but this host is enrolled as %q; enrol again or take the key out", cfg.Host, id.Host)
	}
	boot, err := readID(bootIDFile)
	if err != nil {
		return err
	}
	machine, err := machineID()
	if err != nil {
		return err
	}
	for _, dir := range []string{cfg.RunDir, cfg.StateDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	open, err := libvirtd.New(libvirtd.Options{Log: log})
	if err != nil {
		return err
	}
	clock, runner := daemon.Clock{}, new(run.Runner)
	memory := &collect.Memory{Proc: cfg.Roots.Proc}
	dialer := dial.NewDialer(dial.Options{Managers: cfg.Manager, Identity: id, Clock: clock, Random: rand.Float64, Log: log,
		Save: func(identity []byte) error { return dial.Save(cfg.StateDir, identity) }})
	a, err := agent.New(agent.Config{
		Host: id.Host, MachineID: machine, BootID: boot, Version: version,
		LibvirtURI: cfg.Libvirt.URI, PeerURI: cfg.Migration.PeerURIOf(id.Host), MigrateURI: cfg.Migration.URIOf(id.Host),
		Journal: cfg.Journal(), JournalCopy: cfg.JournalCopy(), SysRoot: "/sys",
		ReportInterval: time.Duration(cfg.ReportInterval),
		Hook:           agent.HookConfig{Mode: cfg.Hook.Mode, Exempt: cfg.ExemptDomains, Optimistic: cfg.Hook.Optimistic},
	}, agent.Deps{
		Clock: clock, Dial: dialer.Dial, Open: open, Exits: libvirtd.Exits{},
		Virsh:  virsh.Virsh{Path: virsh.Path, URI: cfg.Libvirt.URI, Runner: runner}.Run,
		Memory: memory.AvailableKiB, Log: log,
	})
	if err != nil {
		return err
	}

	socket, err := listenHook(cfg.Socket())
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { serveHook(ctx, socket, a.Hooked, log) })
	all.Go(func() { collect.Run(ctx, clock, log, jobs(cfg, memory, runner, a), a.Collected) })
	log.Info("the agent runs", "version", version, "host", id.Host, "manager", cfg.Manager.String(), "libvirt", cfg.Libvirt.URI)
	if err := daemon.Notify("READY=1"); err != nil {
		log.Warn("systemd does not hear us", "error", err)
	}
	defer stop()
	return a.Run(ctx)
}

// jobs are the collectors of this host.
func jobs(cfg configs.Agent, memory *collect.Memory, runner *run.Runner, a *agent.Agent) []collect.Job {
	r := cfg.Roots
	drives := &collect.Drives{Sys: r.Sys}
	smart := &collect.Smart{Path: cfg.Smartctl, Timeout: time.Duration(cfg.SmartTimeout), Runner: runner, Drives: drives}
	list := []collect.Job{
		{Collector: smart, Interval: time.Duration(cfg.SmartInterval), Timeout: smart.Deadline()},
		{
			Collector: &collect.Dependencies{
				Proc: r.Proc, Sys: r.Sys, Dev: r.Dev, Mounts: r.Mounts, Drives: drives,
				Domains: func(context.Context) ([]collect.DomainDisk, error) { return localDisks(a.Domains()), nil },
			},
			Interval: dependencySweep, Timeout: readTimeout, Wake: drives.News(),
		},
	}
	for _, c := range []collect.Collector{
		&collect.CPU{Proc: r.Proc}, memory, &collect.Pressure{Proc: r.Proc}, &collect.Heat{Sys: r.Sys}, &collect.EDAC{Sys: r.Sys},
		&collect.Network{Sys: r.Sys}, &collect.Disk{Proc: r.Proc, Sys: r.Sys, Drives: drives},
	} {
		list = append(list, collect.Job{Collector: c, Interval: sweep, Timeout: readTimeout})
	}
	return list
}
