package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) domainCommand() *cli.Command {
	return &cli.Command{
		Name:      "domain",
		Usage:     "show one guest: its claim, its disks and what protects them, where it could go, and its last events",
		ArgsUsage: "DOMAIN",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			name, err := one(c, "DOMAIN")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.Explain,
				&managerv1.ExplainRequest{Subject: &managerv1.ExplainRequest_Domain{Domain: name}})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			d := res.Domain
			p.explainDomain(d)
			p.printf("  %s, %s\n", size(d.GetMemoryKib()*1024), counted(int(d.GetVcpus()), "virtual CPU"))
			if d.GetManagedSave() {
				p.printf("  %s\n", cell{"saved memory lies here: the next start restores it (vireo leftovers)", yellow})
			}
			p.printProtection(d)
			if res.Placement != nil {
				p.printf("\n%s\n", cell{"Where it could go now", bold})
				p.printPlacement("  ", res.Placement)
			}
			if len(res.Events) > 0 {
				p.printf("\n")
				p.printEvents(c.Context, res.Events)
			}
			return nil
		},
	}
}

// printProtection shows what refuses a second run below libvirt: by disk, and by
// the host on which it would be.
func (p *program) printProtection(d *managerv1.DomainRow) {
	for _, k := range d.GetDisks() {
		word := cell{"locked", green}
		if !k.GetLocked() {
			word = cell{"not locked", yellow}
		}
		p.printf("  disk %s  %s %s: %s, %s\n", k.GetTarget(), k.GetType(), k.GetSource(), word, k.GetWhy())
	}
	open := 0
	for _, o := range d.GetProtection() {
		word := cell{"protected", green}
		if !o.GetProtected() {
			word = cell{"not protected", yellow}
			open++
		}
		p.printf("  against a second run on %s: %s, %s\n", o.GetHost(), word, o.GetWhy())
	}
	if open > 0 {
		p.notef("Nothing but its claim refuses a second run of %s on %s.\n", or(d.GetName(), d.GetUuid()), counted(open, "host"))
	}
}
