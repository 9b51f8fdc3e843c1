package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaTrainCommand() *cli.Command {
	return &cli.Command{
		Name:  "train",
		Usage: "train a model of ATA hard drives on labelled histories",
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "data", Required: true, Usage: "`DIR` with hdd_history_drives*.csv.gz and hdd_history_segments*.csv.gz"},
			&cli.PathFlag{Name: "out", Required: true, Usage: "model `FILE`.vpfa to write"},
			&cli.PathFlag{Name: "exclude", Usage: "`DIR` of drives' recordings (SERIAL.csv) that are never trained on"},
			&cli.StringFlag{Name: "name", Value: "own", Usage: "`NAME` of the model"},
			&cli.StringFlag{Name: "grade", Value: string(pfa.GradeLocal), Usage: "evidence `GRADE` of its verdicts: A for the operator's own history, C for a public one"},
			&cli.StringFlag{Name: "evaluate-from", Usage: "first `DAY` of the evaluation (default: the last quarter of the history)"},
			completeFlag,
			&cli.PathFlag{Name: "card", Usage: "write the model card to `FILE`"},
			&cli.PathFlag{Name: "licence", Usage: "`FILE` with the sources' licence note, kept in the model"},
		},
		Action: trainModel,
	}
}

func trainModel(c *cli.Context) error {
	grade := pfa.Grade(c.String("grade"))
	if grade != pfa.GradeLocal && grade != pfa.GradePublic {
		return badInput(fmt.Errorf("--grade %s: expected A or C", grade))
	}
	h, err := readHistory(c.Path("data"))
	if err != nil {
		return badInput(err)
	}
	t := pfa.Training{Name: c.String("name"), Grade: grade, Drives: h.drives, Sources: h.sources}
	if t.EvaluateFrom, err = evaluateFrom(c, h.drives); err != nil {
		return badInput(err)
	}
	if t.CompleteFrom, err = completeFrom(c); err != nil {
		return badInput(err)
	}
	if dir := c.Path("exclude"); dir != "" {
		if t.Exclude, err = recordedSerials(dir); err != nil {
			return badInput(err)
		}
	}
	if path := c.Path("licence"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return badInput(err)
		}
		t.Licence = strings.TrimSpace(string(b))
	}
	start := time.Now()
	t.Progress = func(step string) {
		fmt.Fprintf(c.App.ErrWriter, "%4.0fs  %s\n", time.Since(start).Seconds(), step)
	}
	t.Progress(fmt.Sprintf("%d drives read", len(h.drives)))
	m, err := pfa.Train(t)
	if err != nil {
		return err
	}
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	if err := writeWhole(c.Path("out"), b); err != nil {
		return err
	}
	if path := c.Path("card"); path != "" {
		if err := writeWhole(path, []byte(m.Card())); err != nil {
			return err
		}
	}
	e := m.Header().Evaluation
	t.Progress(fmt.Sprintf("%s written: AUC %.3f, average precision %.3f, observed/expected %.2f on unseen drives, later in time",
		c.Path("out"), e.AUC.Value, e.AP.Value, e.ObsExp.Value))
	return nil
}

// evaluateFrom is the flag's day, or the begin of the last quarter of the
// time that the histories span.
func evaluateFrom(c *cli.Context, drives []pfa.Drive) (time.Time, error) {
	if s := c.String("evaluate-from"); s != "" {
		day, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return day, fmt.Errorf("--evaluate-from %q: expected a day as 2015-02-01", s)
		}
		return day, nil
	}
	var first, last time.Time
	for i := range drives {
		if d := &drives[i]; first.IsZero() || d.First.Before(first) {
			first = d.First
		}
		if d := &drives[i]; d.Last.After(last) {
			last = d.Last
		}
	}
	return last.Add(-last.Sub(first) / 4).Truncate(24 * time.Hour), nil
}

var completeFlag = &cli.StringFlag{Name: "complete-from", Usage: "`DAY` from which all attributes were recorded (default: always); before it a missing one would tell the date"}

func completeFrom(c *cli.Context) (time.Time, error) {
	s := c.String("complete-from")
	if s == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return day, fmt.Errorf("--complete-from %q: expected a day as 2014-02-20", s)
	}
	return day, nil
}

// recordedSerials are the drives whose recordings lie in dir.
func recordedSerials(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no recordings (SERIAL.csv) there", dir)
	}
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".csv"))
	}
	return out, nil
}
