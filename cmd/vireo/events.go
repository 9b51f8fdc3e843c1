package main

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "show what happened, oldest first",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, until interrupted"},
			hostFlag(),
			&cli.UintFlag{Name: "last", Value: 50, Usage: "begin with the last `N`"},
			&cli.Uint64Flag{Name: "after", Usage: "begin after this event's id instead"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, an event per line"},
		},
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			req := &managerv1.WatchEventsRequest{Follow: c.Bool("follow"), Host: c.String("host"), After: c.Uint64("after")}
			if req.After == 0 {
				req.Last = uint32(c.Uint("last"))
			}
			client, err := p.manager()
			if err != nil {
				return err
			}
			stream, err := client.WatchEvents(c.Context, connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			quiet := true
			for stream.Receive() {
				quiet = false
				if c.Bool("json") {
					if err := p.printJSONLine(stream.Msg()); err != nil {
						return err
					}
					continue
				}
				p.printEvent(c.Context, stream.Msg())
			}
			if quiet && stream.Err() == nil && !c.Bool("json") {
				p.printf("nothing has happened\n")
			}
			return stream.Err()
		},
	}
}

// printEvents prints a list of events.
func (p *program) printEvents(ctx context.Context, events []*managerv1.Event) {
	for _, e := range events {
		p.printEvent(ctx, e)
	}
}

// printEvent prints one line: an event comes alone, so there is no table.
func (p *program) printEvent(ctx context.Context, e *managerv1.Event) {
	about := or(e.Host, "-")
	if e.Domain != "" {
		about += "/" + p.domainName(ctx, e.Domain)
	}
	p.printf("%s  %s  %s  %s\n", instant(timeOf(e.At)), cell{pad(about, 10), bold}, cell{pad(e.Kind, 20), dim}, cell{e.Text, eventStyle(e.Severity)})
}

// domainName is what a guest is called; events only say its UUID. One that
// nobody knows any more keeps its UUID.
func (p *program) domainName(ctx context.Context, uuid string) string {
	if name, ok := p.names[uuid]; ok {
		return name
	}
	if p.names == nil {
		p.names = map[string]string{}
	}
	p.names[uuid] = uuid
	res, err := call(ctx, p, managerv1connect.ManagerServiceClient.ListDomains, &managerv1.ListDomainsRequest{})
	if err != nil {
		return uuid // the name is a convenience
	}
	for _, d := range res.Domains {
		p.names[d.Uuid] = or(d.Name, d.Uuid)
	}
	return p.names[uuid]
}

func eventStyle(severity string) style {
	if severity == "info" {
		return plain
	}
	return stateStyle(severity)
}

// instant is a time with milliseconds, for things that follow each other fast.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}
