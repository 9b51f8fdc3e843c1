package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

func pfaExplainCommand() *cli.Command {
	return &cli.Command{
		Name:  "explain",
		Usage: "say what a model makes of a recorded drive, and why",
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "drive", Required: true, Usage: "`FILE`.csv[.gz] of one drive in Backblaze's daily columns"},
			&cli.IntFlag{Name: "until", Usage: "use the record up to so many `DAYS` relative to its last (0 or negative)"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			modelFlag,
		},
		Action: func(c *cli.Context) error {
			if c.Int("until") > 0 {
				return badInput(fmt.Errorf("--until %d: expected 0 or less", c.Int("until")))
			}
			m, err := loadModel(c.String("model"))
			if err != nil {
				return err
			}
			record, err := readRecorded(c.Path("drive"))
			if err != nil {
				return badInput(err)
			}
			record = record.Until(c.Int("until"))
			if len(record.Days) == 0 {
				return badInput(fmt.Errorf("%s: no rows up to %d days before its last", c.Path("drive"), -c.Int("until")))
			}
			last := record.Days[len(record.Days)-1].Date
			s := pfa.NewState(signal.DiskComponent(record.Serial))
			for _, r := range record.Readings("", last) {
				s.Observe(r)
			}
			v := m.Score(s, last.Add(12*time.Hour))
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", "  ")
				return e.Encode(v)
			}
			return printVerdict(c, v)
		},
	}
}

// readRecorded reads one drive's recording.
func readRecorded(path string) (pfa.Recorded, error) {
	src, err := openSource(path)
	if err != nil {
		return pfa.Recorded{}, err
	}
	defer src.file.Close()
	return pfa.ReadRecorded(src.name, src)
}

func printVerdict(c *cli.Context, v pfa.Verdict) error {
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s\tas of %s\n", v.Component, v.Device, v.At.Format(time.DateOnly))
	for _, h := range []struct {
		name string
		e    pfa.Estimate
	}{{"24 hours", v.Risk.Day}, {"7 days", v.Risk.Week}, {"30 days", v.Risk.Month}} {
		fmt.Fprintf(w, "fails within %s\t%.2f %%\t(%.2f … %.2f)\n", h.name, h.e.Percent, h.e.Lo, h.e.Hi)
	}
	fmt.Fprintf(w, "evidence\t%s\t%s; model %s\n", v.Grade, v.Grade.Words(), v.Model)
	for _, e := range v.Hard {
		fmt.Fprintf(w, "hard evidence\t%s\t%s\n", e.Severity, e.Text)
	}
	fmt.Fprintf(w, "logit\t%+.2f\tis the sum of\n", v.Logit)
	for _, r := range v.Reasons {
		fmt.Fprintf(w, "\t%+.2f\t%s\n", r.Contribution, r.Text)
	}
	for _, f := range v.Facts {
		fmt.Fprintf(w, "fact\t\t%s\n", f.Text)
	}
	return w.Flush()
}
