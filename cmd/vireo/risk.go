package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/pfa"
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
				t.row(r.Host, r.Component, chance(s, s.GetP24H()), chance(s, s.GetP7D()), cell{risk(s), riskStyle(s)}, interval(s), or(s.GetGrade(), "-"),
					or(r.Impact, "-"), strongest(r.Reasons))
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

// interval is "21.8–43.7 %", of the 30 days' probability.
func interval(s *managerv1.Score) string {
	if !scored(s) {
		return "-"
	}
	return strings.TrimSuffix(pfa.Percent(s.GetLow30D()), " %") + "–" + pfa.Percent(s.GetHigh30D())
}

// strongest is the first reason, with how many stand behind it.
func strongest(reasons []*managerv1.Reason) string {
	switch n := len(reasons); n {
	case 0:
		return "-"
	case 1:
		return reasons[0].Text
	default:
		return fmt.Sprintf("%s; and %d more", reasons[0].Text, n-1)
	}
}

// score is a score in one sentence.
func (p *program) score(s *managerv1.Score) string {
	if !scored(s) {
		if s.GetHard() {
			return "hard evidence, without a probability"
		}
		return "not known: nothing has been scored"
	}
	text := pfa.Percent(s.P30D) + " within 30 days (" + interval(s) + "), " + pfa.Percent(s.P7D) + " within 7 days, " + pfa.Percent(s.P24H) + " within 24 hours"
	if s.Hard {
		text += "; hard evidence stands"
	}
	return text
}

// provenance says which model made a score, and on what it was trained.
func provenance(model string, s *managerv1.Score) string {
	if g := pfa.Grade(s.GetGrade()); g != "" {
		model += ", evidence grade " + s.GetGrade() + ": " + g.Words()
	}
	return model
}

// printComponent tells one component's risk with its reasons, below one another.
func (p *program) printComponent(indent string, r *managerv1.ComponentRisk) {
	score := p.score(r.Score)
	if !scored(r.Score) && !r.GetScore().GetHard() {
		score = "no model for it, but evidence"
	}
	p.printf(indent+"%s on %s: %s\n", cell{r.Component, bold}, r.Host, cell{score, riskStyle(r.Score)})
	if r.Impact != "" {
		p.printf(indent+"  %s\n", r.Impact)
	}
	p.printReasons(indent+"  ", r.Reasons)
	if r.Model != "" {
		p.printf(indent+"  model %s; scored %s\n", provenance(r.Model, r.Score), stamp(r.GetScore().GetAt()))
	}
}

func (p *program) printReasons(indent string, reasons []*managerv1.Reason) {
	for _, r := range reasons {
		facts := r.Signal // what the words rest on; what is usual they say themselves
		if r.Value != nil {
			facts += " = " + number(*r.Value)
		}
		if r.Since != nil {
			facts += " since " + stamp(r.Since)
		}
		if r.Weight != 0 {
			facts += ", weight " + signed(r.Weight)
		}
		if facts = strings.TrimPrefix(facts, ", "); facts != "" {
			facts = "  [" + facts + "]"
		}
		p.printf(indent+"- %s%s\n", r.Text, cell{facts, dim})
	}
}
