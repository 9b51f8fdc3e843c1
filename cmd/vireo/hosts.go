package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) hostsCommand() *cli.Command {
	return &cli.Command{
		Name:  "hosts",
		Usage: "list the hosts: state, risk, room, reports; maintenance, prefer, declare-dead, excuse, remove",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListHosts, &managerv1.ListHostsRequest{})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			return p.printHosts(res.Hosts, res.EnforceWaitsFor)
		},
		Subcommands: []*cli.Command{p.hostsMaintenanceCommand(), p.hostsPreferCommand(), p.hostsDeclareDeadCommand(), p.hostsExcuseCommand(), p.hostsRemoveCommand()},
	}
}

// printHosts prints the table, and below it what binds the whole fleet: waits is
// what the hook's mode enforce waits for, empty when it could be set.
func (p *program) printHosts(hosts []*managerv1.Host, waits string) error {
	t := p.table("HOST", "STATE", "FOR", ">RISK 30D", ">MEMORY", ">OF", ">RUNNING", "REPORT", "CLAIMS", "WHY")
	t.below = true
	enforcing := 0
	var unheard []string
	for _, h := range hosts {
		report := cell{p.ago(h.LastReport) + " ago", plain}
		switch {
		case h.LastReport == nil:
			report = cell{"never", red}
		case !h.Connected:
			report = cell{"away, " + report.text, red}
		case !h.Libvirtd:
			report = cell{"no libvirtd", red}
		}
		if !h.Heard && h.Dead == nil {
			unheard = append(unheard, h.Name)
		}
		if enforces(h) {
			enforcing++
		}
		t.row(h.Name, state(h.State), p.ago(h.StateSince), risk(h.Risk), size(h.MemoryClaimedKib*1024), known(h.MemoryKib*1024),
			h.DomainsRunning, report, claimsOn(h), h.StateReason)
	}
	if err := t.print(p.out, "no host is enrolled: vireo agents token --host NAME"); err != nil {
		return err
	}
	if len(unheard) > 0 {
		p.notef("The store was restored: nothing is granted, moved or released before %s reported, or was excused (vireo hosts excuse).\n", cmdline.List(unheard)+map[bool]string{true: " has", false: " have"}[len(unheard) == 1])
	}
	if len(hosts) > 0 && enforcing < len(hosts) {
		offer := "it can be set on the others: hook.mode = \"enforce\" in agent.toml"
		if waits != "" {
			offer = "the others should wait: " + waits
		}
		p.notef("Claims protect a guest among hosts whose hook enforces them: %d of %d; %s.\n", enforcing, len(hosts), offer)
	}
	return nil
}

// enforces says whether a start without permission is refused on the host: its
// hook is to refuse it, and libvirtd was seen to call the hook.
func enforces(h *managerv1.Host) bool { return h.HookMode == "enforce" && h.HookProven }

// claimsOn says what binds virsh on the host.
func claimsOn(h *managerv1.Host) cell {
	switch {
	case h.HookMode == "":
		return cell{"-", plain}
	case enforces(h):
		return cell{"enforced", green}
	case h.HookMode == "observe" && h.HookProven:
		return cell{"observed", plain}
	case h.HookMode == "enforce":
		return cell{"not enforced", red}
	}
	return cell{"not enforced", plain}
}

func (p *program) hostsRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "forget a host that holds no claim; its certificate is revoked",
		ArgsUsage: "HOST",
		Flags:     []cli.Flag{reasonFlag(true)},
		Action: func(c *cli.Context) error {
			host, err := one(c, "HOST")
			if err != nil {
				return err
			}
			_, err = call(c.Context, p, managerv1connect.ManagerServiceClient.RemoveHost,
				&managerv1.RemoveHostRequest{Host: host, Reason: c.String("reason")})
			if err == nil {
				p.printf("%s is removed.\n", host)
			}
			return err
		},
	}
}

// reasonFlag is why, in words, for the audit.
func reasonFlag(required bool) *cli.StringFlag {
	return &cli.StringFlag{Name: "reason", Required: required, Usage: "why, in `WORDS`, for the record"}
}

func (p *program) hostCommand() *cli.Command {
	return &cli.Command{
		Name:      "host",
		Usage:     "show one host, its guests, what depends on its parts, and its last events",
		ArgsUsage: "HOST",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			name, err := one(c, "HOST")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.GetHost, &managerv1.GetHostRequest{Name: name})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			p.printHost(res.Host)
			p.printf("\n")
			if err := p.printDomains(res.Domains, "no guest is known on this host"); err != nil {
				return err
			}
			if len(res.Events) > 0 {
				p.printf("\n")
				p.printEvents(c.Context, res.Events)
			}
			return nil
		},
	}
}

func (p *program) printHost(h *managerv1.Host) {
	p.printf("%s: %s for %s", cell{h.Name, bold}, state(h.State), p.ago(h.StateSince))
	if h.StateReason != "" {
		p.printf(", %s", h.StateReason)
	}
	p.printf("\n")
	reporting := state("connected")
	if !h.Connected {
		reporting = state("away")
	}
	p.printf("  agent      %s %s, last report %s\n", reporting, h.AgentVersion, stamp(h.LastReport))
	libvirtd := "answers"
	if !h.Libvirtd {
		libvirtd = "does not answer"
	}
	p.printf("  libvirtd   %s, libvirt %s, QEMU %s\n", libvirtd, or(h.LibvirtVersion, "?"), or(h.QemuVersion, "?"))
	p.printf("  claims     %s", claimsOn(h))
	if h.HookMode == "off" || h.HookMode == "" {
		p.printf(": hook.mode is off on the host")
	} else if h.HookProblem != "" {
		p.printf(": libvirt's hook (%s): %s", h.HookMode, h.HookProblem)
	}
	p.printf("\n")
	if h.MemoryKib == 0 {
		p.printf("  memory     %s claimed; it has not said how much it has\n", size(h.MemoryClaimedKib*1024))
	} else {
		p.printf("  memory     %s of %s claimed, %s\n", size(h.MemoryClaimedKib*1024), size(h.MemoryKib*1024), counted(int(h.Cpus), "CPU"))
	}
	p.printf("  guests     %d running, %d defined\n", h.DomainsRunning, h.DomainsDefined)
	p.printf("  risk       %s\n", p.score(h.Risk))
	for _, d := range h.Dependencies {
		p.printf("  needs      %s for %s\n", d.Component, dependency(d))
	}
	for _, r := range h.Components {
		p.printComponent("  ", r)
	}
}

func dependency(d *managerv1.Dependency) string {
	switch d.Kind {
	case "root":
		return "its root file system"
	case "swap":
		return "swap"
	case "mount":
		return "the file system at " + d.Name
	}
	return fmt.Sprintf("%s %s", d.Kind, d.Name)
}
