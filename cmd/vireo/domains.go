package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) domainsCommand() *cli.Command {
	return &cli.Command{
		Name:  "domains",
		Usage: "list the guests and where they are",
		Flags: []cli.Flag{hostFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListDomains, &managerv1.ListDomainsRequest{Host: c.String("host")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			return p.printDomains(res.Domains, "no guest is known")
		},
	}
}

func (p *program) printDomains(domains []*managerv1.DomainRow, empty string) error {
	t := p.table("DOMAIN", "HOST", "STATE", "CLAIM", ">EPOCH", ">MEMORY", ">VCPUS", "MIGRATION", "UUID")
	for _, d := range domains {
		claim, epoch := state("none"), "-"
		if d.Claim != nil {
			claim, epoch = state(d.Claim.Phase), count(d.Claim.Epoch)
		}
		t.row(or(d.Name, "-"), or(d.Host, "-"), state(d.State), claim, epoch, size(d.MemoryKib*1024), d.Vcpus, or(d.Migration, "-"), d.Uuid)
	}
	return t.print(p.out, empty)
}
