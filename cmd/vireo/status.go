package main

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the manager: version, mode, term, and how much is going on",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			s, err := p.status(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(s)
			}
			p.printf("manager     %s, version %s, up %s\n", p.where, s.Version, p.ago(s.Started))
			p.printf("mode        %s, %s\n", state(s.Mode), automation(s.Automation, s.AutomationReason))
			p.printf("generation  %d, term %d\n", s.Generation, s.Term)
			if len(s.Recovery) > 0 {
				p.printf("recovery    %s\n", cell{"waits for " + cmdline.List(s.Recovery) + ": nothing is granted, moved or released before (vireo hosts excuse)", red})
			}
			p.printf("model       %s\n", s.Model)
			p.printf("hosts       %d of %d connected\n", s.HostsConnected, s.Hosts)
			p.printf("guests      %d, %d on the move\n", s.Domains, s.MigrationsOpen)
			p.printf("decisions   %d waiting\n", s.DecisionsWaiting)
			p.printCertificates(s.Certificates)
			return nil
		},
	}
}

// printCertificates shows the manager's own, and of the hosts' those that end soon.
func (p *program) printCertificates(all []*managerv1.Certificate) {
	for _, c := range all {
		until := c.NotAfter.AsTime().UTC().Format(time.DateOnly)
		switch {
		case c.EndsSoon:
			p.printf("certificate %s\n", cell{c.Name + " ends on " + until + " (vireo events tells what to do)", red})
		case !strings.HasPrefix(c.Name, "host "):
			p.printf("certificate %s until %s\n", c.Name, until)
		}
	}
}

func automation(on bool, reason string) cell {
	c := cell{"automation on", green}
	if !on {
		c = cell{"automation off", yellow}
	}
	if reason != "" {
		c.text += ": " + reason
	}
	return c
}
