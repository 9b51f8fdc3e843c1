package main

import (
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

// forceFlag is a person's word against what vireo cannot see or would not risk.
func forceFlag(usage string) *cli.BoolFlag { return &cli.BoolFlag{Name: "force", Usage: usage} }

const overPolicy = "also where the host's risk or state is against it"

func (p *program) claimsGrantCommand() *cli.Command {
	return &cli.Command{
		Name:      "grant",
		Usage:     "let a host run a guest of which nobody holds the claim",
		ArgsUsage: "DOMAIN",
		Description: "The claim waits for the start, however long. Refused while another host holds it or may run it, and where memory\n" +
			"would not do; --force only overrides policy.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Required: true, Usage: "the `HOST` that may run it"},
			reasonFlag(true), forceFlag(overPolicy), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			domain, err := one(c, "DOMAIN")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.GrantClaim, &managerv1.GrantClaimRequest{
				Domain: domain, Host: c.String("to"), Reason: c.String("reason"), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			p.printf("%s may run %s: epoch %d.\n", res.Claim.GetHolder(), or(res.Claim.GetDomainName(), domain), res.Claim.GetEpoch())
			return nil
		},
	}
}

func (p *program) claimsReleaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "take a claim back from a host on which the guest does not run",
		ArgsUsage: "DOMAIN",
		Description: "The holder's agent gives it up; it never stops a guest. With --force you vouch that the guest does not run on a holder\n" +
			"that is silent. If the whole host is dead: vireo hosts declare-dead.",
		Flags: []cli.Flag{reasonFlag(true), forceFlag("you know that it does not run on the silent holder"), jsonFlag()},
		Action: func(c *cli.Context) error {
			domain, err := one(c, "DOMAIN")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ReleaseClaim, &managerv1.ReleaseClaimRequest{
				Domain: domain, Reason: c.String("reason"), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			if cl := res.GetClaim(); cl != nil {
				p.printf("%s is asked to give %s up; vireo claims shows when it has.\n", cl.Holder, or(cl.DomainName, domain))
				return nil
			}
			p.printf("Nobody holds the claim of %s any more.\n", domain)
			return nil
		},
	}
}

func (p *program) claimsMoveCommand() *cli.Command {
	return &cli.Command{
		Name:        "move",
		Usage:       "move a running guest to another host, with its claim",
		ArgsUsage:   "DOMAIN",
		Description: "Without --to the best host is chosen. vireo explain migration ID tells how it goes.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "this `HOST` and no other"},
			reasonFlag(true), forceFlag(overPolicy), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			domain, err := one(c, "DOMAIN")
			if err != nil {
				return err
			}
			if c.Bool("force") && c.String("to") == "" {
				return usagef("vireo claims move: --force is about one host: --to HOST")
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.MoveClaim, &managerv1.MoveClaimRequest{
				Domain: domain, Target: c.String("to"), Reason: c.String("reason"), Force: c.Bool("force")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			m := res.GetMigration()
			p.printf("%s: %s → %s, %s; vireo explain migration %s\n", or(m.GetDomainName(), domain), m.GetSource(), m.GetTarget(), state(m.GetState()), m.GetId())
			return nil
		},
	}
}

func (p *program) claimsResolveCommand() *cli.Command {
	return &cli.Command{
		Name:      "resolve",
		Usage:     "choose where vireo may not: which copy is the guest",
		ArgsUsage: "DOMAIN",
		Description: "An ambiguous claim: --holder HOST, if it runs there and nowhere else; --released, if it runs nowhere. No copy is stopped:\n" +
			"stop a wrong one yourself (virsh destroy on its host). --force speaks for hosts that are silent.\n" +
			"A complete paused copy whose source is gone, nobody knows how: --resume lets it run, which is right only if the guest\n" +
			"has not run anywhere since it was copied; --discard destroys it: old memory on newer disks.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "holder", Usage: "the `HOST` that runs it"},
			&cli.BoolFlag{Name: "released", Usage: "it runs nowhere"},
			&cli.BoolFlag{Name: "resume", Usage: "let the paused copy run"},
			&cli.BoolFlag{Name: "discard", Usage: "destroy the paused copy"},
			reasonFlag(true), forceFlag("you vouch for hosts that are silent"), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			domain, err := one(c, "DOMAIN")
			if err != nil {
				return err
			}
			req := &managerv1.ResolveClaimRequest{Domain: domain, Reason: c.String("reason"), Force: c.Bool("force")}
			choices := 0
			for _, choice := range []struct {
				made bool
				as   func()
			}{
				{c.String("holder") != "", func() { req.Choice = &managerv1.ResolveClaimRequest_Holder{Holder: c.String("holder")} }},
				{c.Bool("released"), func() { req.Choice = &managerv1.ResolveClaimRequest_Released{Released: true} }},
				{c.Bool("resume"), func() { req.Choice = &managerv1.ResolveClaimRequest_Resume{Resume: true} }},
				{c.Bool("discard"), func() { req.Choice = &managerv1.ResolveClaimRequest_Discard{Discard: true} }},
			} {
				if choice.made {
					choices++
					choice.as()
				}
			}
			if choices != 1 {
				return usagef("vireo claims resolve: expected one of --holder HOST, --released, --resume and --discard, got %d", choices)
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ResolveClaim, req)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			switch m, cl := res.GetMigration(), res.GetClaim(); {
			case m != nil:
				p.printf("%s: %s → %s, %s: %s\n", or(m.DomainName, domain), m.Source, m.Target, state(m.State), or(m.OutcomeReason, m.Waiting, "goes on"))
			case cl != nil:
				p.printf("%s: %s by %s, epoch %d.\n", or(cl.DomainName, domain), state(cl.Phase), cl.Holder, cl.Epoch)
			default:
				p.printf("Nobody holds the claim of %s any more.\n", domain)
			}
			return nil
		},
	}
}
