package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaEvaluateCommand() *cli.Command {
	return &cli.Command{
		Name:  "evaluate",
		Usage: "judge the way models are trained, on unseen drives, later in time",
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "data", Required: true, Usage: "`DIR` with hdd_history_drives*.csv.gz and hdd_history_segments*.csv.gz"},
			&cli.StringFlag{Name: "evaluate-from", Usage: "first `DAY` of the judged landmarks (default: the last quarter of the history)"},
			completeFlag,
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(c *cli.Context) error {
			h, err := readHistory(c.Path("data"))
			if err != nil {
				return badInput(err)
			}
			from, err := evaluateFrom(c, h.drives)
			if err != nil {
				return badInput(err)
			}
			complete, err := completeFrom(c)
			if err != nil {
				return badInput(err)
			}
			m, err := pfa.Evaluate(h.drives, from, complete)
			if err != nil {
				return badInput(err)
			}
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", "  ")
				return e.Encode(m)
			}
			_, err = fmt.Fprint(c.App.Writer, m.Table())
			return err
		},
	}
}
