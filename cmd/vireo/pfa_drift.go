package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

func (p *program) pfaDriftCommand() *cli.Command {
	return &cli.Command{
		Name:  "drift",
		Usage: "compare stored telemetry with what a model was trained on",
		Description: "For each feature, and for the risk itself: the population stability index of this fleet's hard drives (every 14 days)\n" +
			"against the model's training. 0 is the same population; above the limit (0.25, more for few drives) it is another one,\n" +
			"and the model's probabilities rest on less than they seem to: look at `vireo pfa ledger check`.",
		Flags: append(storeFlags(), modelFlag, &cli.BoolFlag{Name: "all", Usage: "all features, not only the ten that differ most"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"}),
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			m, err := loadModel(c.String("model"))
			if err != nil {
				return err
			}
			f, err := openFleet(c, newProgress(c))
			if err != nil {
				return err
			}
			defer f.Close()
			d := m.NewDrift()
			f.components(func(_, component string, readings []signal.Reading) { d.Add(component, readings) })
			r := d.Report()
			if r.Drives == 0 {
				return badInput(fmt.Errorf("%s: no ATA hard drive there", c.Path("store")))
			}
			if c.Bool("json") {
				return writeJSON(c, r)
			}
			return p.printDrift(c, m, r)
		},
	}
}

func (p *program) printDrift(c *cli.Context, m *pfa.Model, r pfa.DriftReport) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FEATURE\tPSI\tLIMIT\tDRIFTED\tMOST OF IT")
	lines := append([]pfa.DriftLine{r.Score}, r.Features...)
	const shown = 11
	if !c.Bool("all") && len(lines) > shown {
		lines = lines[:shown]
	}
	drifted := 0
	for _, l := range append([]pfa.DriftLine{r.Score}, r.Features...) {
		if l.Drifted {
			drifted++
		}
	}
	for _, l := range lines {
		word := "no"
		if l.Drifted {
			word = "yes"
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t%s\n", l.Name, l.PSI, l.Limit, word, l.Observed)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	note := ""
	if len(r.Features) == 0 {
		note = "; the model carries no reference of its features (train it with this version)"
	}
	p.printf("%s: %s, %s against %s, trained up to %s: %d of %d lines have drifted%s\n", c.Path("store"), counted(r.Drives, "drive"),
		counted(r.Landmarks, "landmark"), m.Name(), m.Header().Provenance.Until, drifted, len(r.Features)+1, note)
	return nil
}
