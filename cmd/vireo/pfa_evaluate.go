package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaEvaluateCommand() *cli.Command {
	return &cli.Command{
		Name: "evaluate",
		Description: "Three times a model is trained on two thirds of the drives, on what was known before --evaluate-from, and judged on the\n" +
			"other third after it: AUC, average precision, observed against expected with bins and intervals, what thresholds would\n" +
			"have done, smartd's rule beside it, all by vendor and family, too.",
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
			newProgress(c).step("%d drives read; training and judging three folds", len(h.drives))
			m, err := interruptible(c, func() (pfa.Metrics, error) { return pfa.Evaluate(h.drives, from, complete) })
			if err != nil {
				return badInput(err)
			}
			if c.Bool("json") {
				return writeJSON(c, m)
			}
			_, err = fmt.Fprint(c.App.Writer, m.Table(), m.Details())
			return err
		},
	}
}
