package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaEvaluateCommand() *cli.Command {
	return &cli.Command{
		Name: "evaluate",
		Description: "--data DIR: three times a model is trained on two thirds of the drives, on what was known before --evaluate-from, and\n" +
			"judged on the other third after it.\n\n" +
			"--daily FILE: the model in this binary, or --model FILE, is judged on each row of a table in Backblaze's columns, by the\n" +
			"drive's rows up to that date. What became of a drive says the column days_to_failure (empty: it did not fail in the 30\n" +
			"days after), else failure (1 on its last day): then rows count whose next 30 days are in the table.\n\n" +
			"Out: AUC, average precision, observed against expected with bins and intervals, what thresholds would have done,\n" +
			"smartd's rule beside it, all by vendor and family, too. Where failing drives were picked for the table, observed against\n" +
			"expected says nothing.",
		Usage: "judge the way models are trained, or one model, on drives it has not seen",
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "data", Usage: "`DIR` with hdd_history_drives*.csv.gz and hdd_history_segments*.csv.gz"},
			&cli.StringFlag{Name: "evaluate-from", Usage: "with --data: first `DAY` of the judged landmarks (default: the last quarter of the history)"},
			completeFlag,
			&cli.PathFlag{Name: "daily", Usage: "`FILE`.csv[.gz] with date, serial_number, model, smart_N_raw…, and days_to_failure or failure"},
			modelFlag,
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(c *cli.Context) error {
			judge, not := evaluateHistory, []string{"model"}
			if c.Path("daily") != "" {
				judge, not = evaluateDaily, []string{"evaluate-from", "complete-from"}
			}
			if (c.Path("data") == "") == (c.Path("daily") == "") {
				return usagef("%s: expected either --data or --daily", c.Command.HelpName)
			}
			for _, name := range not {
				if c.IsSet(name) {
					return usagef("%s: --%s does not go with this input; see %[1]s --help", c.Command.HelpName, name)
				}
			}
			m, err := judge(c)
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

// evaluateHistory judges the way of training.
func evaluateHistory(c *cli.Context) (none pfa.Metrics, err error) {
	h, err := readHistory(c.Path("data"))
	if err != nil {
		return none, err
	}
	from, err := evaluateFrom(c, h.drives)
	if err != nil {
		return none, err
	}
	complete, err := completeFrom(c)
	if err != nil {
		return none, err
	}
	said := newProgress(c)
	said.step("%d drives read; training and judging three folds", len(h.drives))
	return interruptible(c, said, func() (pfa.Metrics, error) { return pfa.Evaluate(h.drives, from, complete) })
}

// evaluateDaily judges one model.
func evaluateDaily(c *cli.Context) (none pfa.Metrics, err error) {
	m, err := loadModel(c.String("model"))
	if err != nil {
		return none, err
	}
	src, err := openSource(c.Path("daily"))
	if err != nil {
		return none, err
	}
	defer src.file.Close()
	said := newProgress(c)
	return m.EvaluateDaily(c.Context, src.name, src, func(done, of int) { said.at("%d of %s scored", done, counted(of, "row")) })
}
