package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
)

func (p *program) riskCommand() *cli.Command {
	return &cli.Command{
		Name:      "risk",
		Usage:     "show the failure risk of every component, or of one host's with the reasons",
		ArgsUsage: "[HOST]",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			host, err := atMostOne(c, "HOST")
			if err != nil {
				return err
			}
			res, err := call(c.Context, p, managerv1connect.ManagerServiceClient.ListRisk, &managerv1.ListRiskRequest{Host: host})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(res)
			}
			if host != "" && len(res.Components) > 0 {
				for _, r := range res.Components {
					p.printComponent("", r)
				}
				return nil
			}
			t := p.table("HOST", "COMPONENT", ">24H", ">7D", ">30D", ">INTERVAL", "GRADE", "IMPACT", "BECAUSE")
			for _, r := range res.Components {
				s := r.GetScore()
				why := make([]string, len(r.Reasons))
				for i, reason := range r.Reasons {
					why[i] = reason.Text
				}
				t.row(r.Host, r.Component, percent(s.GetP24H()), percent(s.GetP7D()), cell{risk(s), riskStyle(s)}, interval(s), s.GetGrade(),
					or(r.Impact, "-"), strings.Join(why, "; "))
			}
			return t.print(p.out, "nothing has been scored yet")
		},
	}
}

func riskStyle(s *managerv1.Score) style {
	if s.GetHard() {
		return red
	}
	return plain
}

func interval(s *managerv1.Score) string {
	return percent(s.GetLow30D()) + "–" + percent(s.GetHigh30D())
}

// score is a score in one sentence.
func (p *program) score(s *managerv1.Score) string {
	if risk(s) == "-" {
		return "not scored yet"
	}
	text := percent(s.P30D) + " within 30 days (" + interval(s) + "), " + percent(s.P7D) + " within 7 days, " + percent(s.P24H) + " within 24 hours"
	if s.Grade != "" {
		text += ", evidence grade " + s.Grade
	}
	if s.Hard {
		text += "; hard evidence stands"
	}
	return text
}

// printComponent tells one component's risk with its reasons, below one another.
func (p *program) printComponent(indent string, r *managerv1.ComponentRisk) {
	p.printf(indent+"%s on %s: %s\n", cell{r.Component, bold}, r.Host, cell{p.score(r.Score), riskStyle(r.Score)})
	if r.Impact != "" {
		p.printf(indent+"  it %s\n", r.Impact)
	}
	p.printReasons(indent+"  ", r.Reasons)
	if r.Model != "" {
		p.printf(indent+"  model %s, scored %s\n", r.Model, stamp(r.GetScore().GetAt()))
	}
}

func (p *program) printReasons(indent string, reasons []*managerv1.Reason) {
	for _, r := range reasons {
		text := r.Text
		if r.Value != nil {
			text += ": " + r.Signal + " is " + number(*r.Value)
		} else if r.Signal != "" {
			text += ": " + r.Signal
		}
		if r.Usual != "" {
			text += ", usual " + r.Usual
		}
		if r.Since != nil {
			text += ", since " + stamp(r.Since)
		}
		if r.Weight != 0 {
			text += " (weight " + signed(r.Weight) + ")"
		}
		p.printf(indent+"- %s\n", text)
	}
}
