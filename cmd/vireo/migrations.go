package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) migrationsCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrations",
		Usage: "list the moves, newest first; abort",
		Flags: []cli.Flag{
			hostFlag(),
			&cli.StringFlag{Name: "domain", Usage: "only of this `DOMAIN`, by name or UUID"},
			&cli.BoolFlag{Name: "open", Usage: "only those that have not ended"},
			&cli.UintFlag{Name: "limit", Value: 100, Usage: "at most `N`"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "watch the open ones until interrupted"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			req := &managerv1.ListMigrationsRequest{Host: c.String("host"), Domain: c.String("domain"), OpenOnly: c.Bool("open"),
				Limit: uint32(c.Uint("limit"))}
			if c.Bool("follow") {
				return p.followMigrations(c.Context, req, c.Bool("json"))
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListMigrations, req)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			return p.printMigrations(res.Migrations)
		},
		Subcommands: []*cli.Command{p.abortCommand()},
	}
}

func (p *program) printMigrations(migrations []*managerv1.Migration) error {
	t := p.table("MIGRATION", "DOMAIN", "FROM", "TO", "STATE", ">TOOK", ">DOWNTIME", "BEGAN", "WHAT")
	for _, m := range migrations {
		downtime, what := "-", or(m.OutcomeReason, m.Waiting, m.Reason)
		if m.Downtime != nil {
			downtime = millis(m.Downtime.Total)
		}
		t.row(m.Id, or(m.DomainName, m.Domain), m.Source, m.Target, state(m.State), p.took(m), downtime, p.ago(m.Started)+" ago", what)
	}
	return t.print(p.out, "nothing has been moved")
}

// took is how long a move took, or has taken so far.
func (p *program) took(m *managerv1.Migration) string {
	if m.Started == nil {
		return "-"
	}
	end := p.now()
	if m.Ended != nil {
		end = m.Ended.AsTime()
	}
	return short(max(0, end.Sub(m.Started.AsTime())))
}

// followInterval is how often a follower asks.
const followInterval = 300 * time.Millisecond

// followMigrations shows what is open, and each of those until it has ended.
func (p *program) followMigrations(ctx context.Context, req *managerv1.ListMigrationsRequest, asJSON bool) error {
	req.OpenOnly = false // to see how they end
	f := p.follower()
	f.json = asJSON
	over := map[string]bool{} // had ended before anybody watched
	for first := true; ; first = false {
		res, err := call(ctx, p, managerv1connect.ManagerServiceClient.ListMigrations, req)
		if err != nil {
			return err
		}
		var watched []*managerv1.Migration
		for _, m := range res.Migrations {
			if first && m.Outcome != "" {
				over[m.Id] = true
			}
			if !over[m.Id] {
				watched = append(watched, m)
			}
		}
		if first && len(watched) == 0 && !asJSON {
			p.notef("Nothing is on the move; waiting for what comes.\n")
		}
		if err := f.show(watched); err != nil {
			return err
		}
		if err := p.pause(ctx, followInterval); err != nil {
			return err
		}
	}
}

func (p *program) abortCommand() *cli.Command {
	return &cli.Command{
		Name:      "abort",
		Usage:     "give a move up if it still can be; what is true then decides where the guest is",
		ArgsUsage: "MIGRATION",
		Flags:     []cli.Flag{reasonFlag(false), jsonFlag()},
		Action: func(c *cli.Context) error {
			id, err := one(c, "MIGRATION")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.AbortMigration,
				&managerv1.AbortMigrationRequest{Id: id, Reason: c.String("reason")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			p.printf("%s is %s.\n", id, state(res.GetMigration().GetState()))
			return nil
		},
	}
}
