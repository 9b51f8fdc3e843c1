package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/urfave/cli/v2"

	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) evacuateCommand() *cli.Command {
	return &cli.Command{
		Name:      "evacuate",
		Usage:     "move all guests off a host, and follow until it is empty or cannot be emptied",
		ArgsUsage: "HOST",
		Description: "Exits with 0 when the host is empty and 5 when guests stayed. Interrupted, it stops following; the evacuation\n" +
			"goes on. --dry-run shows what would happen, and exits as the real one would.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only show where the guests would go"},
			&cli.BoolFlag{Name: "detach", Usage: "return as soon as it has begun"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
			reasonFlag(false),
			jsonFlag(),
		},
		Action: p.evacuate,
	}
}

func (p *program) evacuate(c *cli.Context) error {
	host, err := one(c, "HOST")
	if err != nil {
		return err
	}
	ctx := c.Context
	if c.Bool("dry-run") {
		return p.dryRun(ctx, host, c.Bool("json"))
	}
	if p.asks && !c.Bool("yes") {
		if err := p.confirmEvacuation(ctx, host); err != nil {
			return err
		}
	}
	begun, err := call(ctx, p, managerv1connect.ManagerServiceClient.EvacuateHost,
		&managerv1.EvacuateHostRequest{Host: host, Reason: c.String("reason")})
	if err != nil {
		return err
	}
	if c.Bool("detach") {
		if c.Bool("json") {
			return p.printJSON(begun)
		}
		p.printf("%s is being evacuated (decision %s): vireo migrations --host %s --follow\n", host, begun.Decision, host)
		return nil
	}
	if !c.Bool("json") {
		p.printf("%s is being evacuated: %s, decision %s\n", host, counted(len(begun.Placements), "guest"), begun.Decision)
	}
	err = p.followEvacuation(ctx, host, begun.Decision, c.Bool("json"))
	if ctx.Err() != nil {
		return exitError{exitInterrupted, fmt.Sprintf("no longer following; the evacuation of %s goes on.\n"+
			"vireo migrations --host %[1]s --follow shows it, vireo return %[1]s takes the host back into service.", clean(host))}
	}
	return err
}

// dryRun shows the plan and ends as the evacuation would.
func (p *program) dryRun(ctx context.Context, host string, asJSON bool) error {
	plan, err := p.plan(ctx, host)
	if err != nil {
		return err
	}
	if asJSON {
		err = p.printJSON(plan)
	} else {
		err = p.printPlan(host, plan)
	}
	switch n := staying(plan.Placements); {
	case err != nil:
		return err
	case plan.Refused != "":
		return exitError{apierr.ExitRefused, plan.Refused}
	case n > 0:
		return exitError{exitPartly, counted(n, "guest") + " would stay"}
	}
	return nil
}

// confirmEvacuation shows the plan and asks.
func (p *program) confirmEvacuation(ctx context.Context, host string) error {
	plan, err := p.plan(ctx, host)
	if err != nil {
		return err
	}
	if plan.Refused != "" {
		return exitError{apierr.ExitRefused, plan.Refused}
	}
	if err := p.printPlan(host, plan); err != nil {
		return err
	}
	p.notef("Evacuate %s now? [y/N] ", host)
	answers := make(chan string, 1)
	go func() { // reading cannot be interrupted; the program ends instead
		line, _ := bufio.NewReader(p.in).ReadString('\n')
		answers <- line
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case line := <-answers:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return exitError{apierr.ExitFailed, "nothing was done"}
	}
}

// patienceAway is how long a follower waits for a manager that went away: it
// may be restarting.
const patienceAway = time.Minute

// followEvacuation shows the moves of a decision until the host is empty, or
// the manager has said that what is left stays.
func (p *program) followEvacuation(ctx context.Context, host, decision string, asJSON bool) error {
	f := p.follower()
	f.json = asJSON
	var away time.Time // since when the manager is
	for {
		ended, err := p.lookAtEvacuation(ctx, f, host, decision)
		var exit exitError
		switch {
		case ended || errors.As(err, &exit):
			return err
		case err == nil:
			if !away.IsZero() {
				p.notef("The manager is back.\n")
				away = time.Time{}
			}
		case !isAway(err):
			return err
		case away.IsZero():
			away = p.now()
			p.notef("The manager does not answer; the guests go on moving. Waiting for it.\n")
			f.lines = 0
		case p.now().Sub(away) > patienceAway:
			return err
		}
		if err := p.pause(ctx, followInterval); err != nil {
			return err
		}
	}
}

// isAway says that nobody answered, or that the manager is only just up.
func isAway(err error) bool {
	if e, ok := apierr.FromConnect(err); ok {
		return e.Kind == apierr.Unavailable
	}
	return connect.CodeOf(err) == connect.CodeUnavailable
}

func (p *program) lookAtEvacuation(ctx context.Context, f *follower, host, decision string) (ended bool, err error) {
	moves, err := call(ctx, p, managerv1connect.ManagerServiceClient.ListMigrations, &managerv1.ListMigrationsRequest{Host: host, Limit: 1000})
	if err != nil {
		return false, err
	}
	var of []*managerv1.Migration
	for _, m := range moves.Migrations {
		if m.Decision == decision || m.Outcome == "" && m.Source == host {
			of = append(of, m)
		}
	}
	if err := f.show(of); err != nil {
		return false, err
	}
	now, err := call(ctx, p, managerv1connect.ManagerServiceClient.GetHost, &managerv1.GetHostRequest{Name: host})
	if err != nil {
		return false, err
	}
	if now.GetHost().GetState() == "drained" {
		if !f.json {
			p.printf("%s is empty: it can be shut down.\n", cell{host, bold})
		}
		return true, nil
	}
	d, err := p.decision(ctx, host, decision)
	if err != nil || d == nil {
		return false, err
	}
	switch d.Status {
	case "rejected", "superseded":
		return true, exitError{exitPartly, fmt.Sprintf("the evacuation of %s was ended: %s", clean(host), clean(or(d.Resolution, d.Status)))}
	case "done":
		var left []string
		for _, r := range now.Domains {
			if r.GetClaim().GetHolder() == host {
				left = append(left, or(r.Name, r.Uuid))
			}
		}
		if len(left) > 0 { // otherwise the report that shows it empty is on its way
			return true, exitError{exitPartly, fmt.Sprintf("%s stayed on %s: %s\n%s", counted(len(left), "guest"), clean(host),
				clean(cmdline.List(left)), clean(d.Resolution))}
		}
	}
	return false, nil
}

// decision finds a host's decision; nil when it is not among the last hundred.
func (p *program) decision(ctx context.Context, host, id string) (*managerv1.Decision, error) {
	res, err := call(ctx, p, managerv1connect.ManagerServiceClient.ListDecisions, &managerv1.ListDecisionsRequest{Host: host, Limit: 100})
	if err != nil {
		return nil, err
	}
	for _, d := range res.Decisions {
		if d.Id == id {
			return d, nil
		}
	}
	return nil, nil
}
