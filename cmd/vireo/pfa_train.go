package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/leak"
)

func pfaTrainCommand() *cli.Command {
	return &cli.Command{
		Name:  "train",
		Usage: "train a model on labelled histories",
		Description: "--kind disk --data DIR trains on histories of hard drives. --kind memory --features FILE trains on a table of features of\n" +
			"memory modules: serial_number, prediction_timestamp (seconds since 1970) and label (1: an uncorrectable error within 7\n" +
			"days), optionally part (training or validation), observed_at and group; every other column is a feature.\n\n" +
			"Training is refused, with exit code 2, when its evaluation would flatter the model:\n" + ruleWords() +
			"FILE.vpfa appears when it is complete.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kind", Value: "disk", Usage: "`KIND` of component: disk or memory"},
			&cli.PathFlag{Name: "features", Usage: "`FILE`.csv[.gz] of memory modules"},
			&cli.PathFlag{Name: "data", Usage: "`DIR` with hdd_history_drives*.csv.gz and hdd_history_segments*.csv.gz"},
			&cli.PathFlag{Name: "store", Usage: "a manager's `DB`: the operator's own history; failures are those marked in the ledger"},
			ledgerFlag(),
			&cli.PathFlag{Name: "out", Required: true, Usage: "model `FILE`.vpfa to write"},
			&cli.PathFlag{Name: "exclude", Usage: "`DIR` of drives' recordings (SERIAL.csv) that are never trained on"},
			&cli.StringFlag{Name: "name", Value: "own", Usage: "`NAME` of the model"},
			&cli.StringFlag{Name: "grade", Value: string(pfa.GradeLocal), Usage: "evidence `GRADE` of its verdicts: A for the operator's own history, C for a public one"},
			&cli.StringFlag{Name: "evaluate-from", Usage: "first `DAY` of the evaluation (default: the last quarter of the history)"},
			completeFlag,
			&cli.PathFlag{Name: "card", Usage: "write the model card to `FILE`"},
			&cli.StringSliceFlag{Name: "accept", Usage: "`RULE=REASON`: train although RULE is broken; the model carries the reason and says it first"},
			&cli.PathFlag{Name: "licence", Usage: "`FILE` with the sources' licence note, kept in the model"},
		},
		Action: trainModel,
	}
}

// ruleWords lists what train refuses.
func ruleWords() string {
	var b strings.Builder
	for _, r := range leak.Rules {
		fmt.Fprintf(&b, "  %-16s %s", r.Rule, r.Breaks)
		if r.MayCarry {
			b.WriteString(" (--accept goes on)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// trained is a model that was just made.
type trained interface {
	Bytes() ([]byte, error)
	Card() string
}

func trainModel(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	grade := pfa.Grade(c.String("grade"))
	if grade != pfa.GradeLocal && grade != pfa.GradePublic {
		return badInput(fmt.Errorf("--grade %s: expected A or C", grade))
	}
	accept := pfa.Accept{}
	for _, a := range c.StringSlice("accept") {
		if err := accept.Parse(a); err != nil {
			return badInput(err)
		}
	}
	licence := ""
	if path := c.Path("licence"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return badInput(err)
		}
		licence = strings.TrimSpace(string(b))
	}
	said := newProgress(c)
	say := func(step string) { said.step("%s", step) }
	var train func() (trained, pfa.Metrics, error)
	switch kind := c.String("kind"); {
	case kind == "disk" && (c.Path("data") == "") != (c.Path("store") == "") && c.Path("features") == "":
		t, err := diskTraining(c, said)
		if err != nil {
			return badInput(err)
		}
		t.Grade, t.Accept, t.Licence, t.Progress = grade, accept, licence, say
		said.step("%d drives read", len(t.Drives))
		train = func() (trained, pfa.Metrics, error) {
			m, err := pfa.Train(t)
			if err != nil {
				return nil, pfa.Metrics{}, err
			}
			return m, m.Header().Evaluation, nil
		}
	case kind == "memory" && c.Path("features") != "" && c.Path("data") == "":
		table, sum, err := readFeatures(c.Path("features"), true)
		if err != nil {
			return badInput(err)
		}
		said.step("%s read", counted(table.Rows(), "row"))
		train = func() (trained, pfa.Metrics, error) {
			m, err := pfa.TrainMemory(pfa.MemoryTraining{Name: c.String("name"), Grade: grade, Table: table, Licence: licence, Accept: accept,
				Progress: say, Source: pfa.Source{Name: table.Name, SHA256: sum, Rows: table.Rows()}})
			if err != nil {
				return nil, pfa.Metrics{}, err
			}
			return m, m.Header().Evaluation, nil
		}
	default:
		return usagef("vireo pfa train: expected either --kind disk and --data or --store, or --kind memory and --features")
	}
	return keepModel(c, said, train)
}

// diskTraining reads what a model of hard drives is trained on.
func diskTraining(c *cli.Context, said *progress) (pfa.Training, error) {
	h, err := ownOrRead(c, said)
	t := pfa.Training{Name: c.String("name"), Drives: h.drives, Sources: h.sources}
	if err != nil {
		return t, err
	}
	if t.EvaluateFrom, err = evaluateFrom(c, h.drives); err != nil {
		return t, err
	}
	if t.CompleteFrom, err = completeFrom(c); err != nil {
		return t, err
	}
	if dir := c.Path("exclude"); dir != "" {
		t.Exclude, err = recordedSerials(dir)
	}
	return t, err
}

// ownOrRead takes the histories from --data, or from what a manager has kept.
func ownOrRead(c *cli.Context, said *progress) (history, error) {
	if c.Path("store") == "" {
		return readHistory(c.Path("data"))
	}
	return ownHistories(c, said)
}

// keepModel trains and writes the model and its card.
func keepModel(c *cli.Context, said *progress, train func() (trained, pfa.Metrics, error)) error {
	var e pfa.Metrics
	model, err := interruptible(c, said, func() (m trained, err error) {
		m, e, err = train()
		return m, err
	})
	if err != nil {
		return badInput(err)
	}
	b, err := model.Bytes()
	if err != nil {
		return err
	}
	if err := writeWhole(c.Path("out"), b); err != nil {
		return err
	}
	if path := c.Path("card"); path != "" {
		if err := writeWhole(path, []byte(model.Card())); err != nil {
			return err
		}
	}
	said.step("%s written: AUC %.3f, average precision %.3f, observed/expected %.2f on unseen components, later in time",
		c.Path("out"), e.AUC.Value, e.AP.Value, e.ObsExp.Value)
	if r := e.Smartd; r.ModelRecall < r.Recall {
		said.step("smartd's rule finds more at as many false alarms (%.1f %% of failures, the model %.1f %%): so few failures teach too little; "+
			"the shipped model, corrected by `vireo pfa ledger check --recalibrate`, is the better choice", 100*r.Recall, 100*r.ModelRecall)
	}
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

// interruptible runs long work that knows no context and has no effect: when it
// is interrupted the process ends, and nothing was written. The work says how far
// it is by said, and nothing more once it is given up.
func interruptible[T any](c *cli.Context, said *progress, work func() (T, error)) (out T, err error) {
	done := make(chan struct{})
	var made T
	var failed error
	go func() {
		defer close(done)
		made, failed = work()
	}()
	select {
	case <-done:
		return made, failed
	case <-c.Context.Done():
		said.end()
		return out, c.Context.Err()
	}
}
