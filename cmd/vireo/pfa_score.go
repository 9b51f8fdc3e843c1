package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/cmd/internal/cmdline"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaScoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "score",
		Usage: "score recorded data: one line of probabilities (0 to 1) and reasons per landmark or row",
		Description: "--kind disk --segments SEG --drives DRV --landmarks LM: each landmark (serial_number, poh) is scored by its drive's\n" +
			"readings up to that power-on hour. Of DRV only serial_number, model, first_date and poh_first are read.\n" +
			"Out: serial_number,poh,p24h,p7d,p30d,lo30d,hi30d,grade,reason1,reason2,reason3.\n\n" +
			"--kind disk --daily FILE: each row of a table in Backblaze's columns is scored by its drive's rows up to that date.\n" +
			"Out: date,serial_number,p24h,p7d,p30d,lo30d,hi30d,grade,reason1,reason2,reason3.\n\n" +
			"--kind memory --features FILE: each row of a table in the columns of dimm_ce_features is scored by --model FILE, or by the\n" +
			"documented prior (grade D). Out: row,p7d,lo,hi,grade,reason1,reason2,reason3; row counts from 0, the first after the header.\n\n" +
			"One line per landmark or row, in the order of the input. A drive without a reading yet gets the baseline, grade D.\n" +
			"Files may be gzipped (.gz). OUT.csv appears when it is complete.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kind", Value: "disk", Usage: "`KIND` of component: disk or memory"},
			&cli.PathFlag{Name: "segments", Usage: "`FILE`.csv[.gz] in the columns of hdd_history_segments"},
			&cli.PathFlag{Name: "drives", Usage: "`FILE`.csv[.gz] in the columns of hdd_history_drives"},
			&cli.PathFlag{Name: "landmarks", Usage: "`FILE`.csv[.gz] with serial_number, poh"},
			&cli.PathFlag{Name: "daily", Usage: "`FILE`.csv[.gz] with date, serial_number, model, smart_N_raw…"},
			&cli.PathFlag{Name: "features", Usage: "`FILE`.csv[.gz] in the columns of dimm_ce_features"},
			&cli.PathFlag{Name: "out", Required: true, Usage: "`FILE`.csv to write"},
			modelFlag,
		},
		Action: pfaScore,
	}
}

func pfaScore(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	ways := []scoreWay{
		{"disk", []string{"segments", "drives", "landmarks"}, byModel(scoreLandmarks)},
		{"disk", []string{"daily"}, byModel(scoreDaily)},
		{"memory", []string{"features"}, scoreMemory},
	}
	way, err := chooseWay(c, ways)
	if err != nil {
		return err
	}
	score, err := way.begin(c)
	if err != nil {
		return err
	}
	return writeTo(c.Path("out"), score)
}

// scoreWay is one kind of input, and the flags that bring it.
type scoreWay struct {
	kind  string
	flags []string
	begin func(*cli.Context) (func(io.Writer) error, error) // loads the model
}

func (w scoreWay) words() string {
	var flags []string
	for _, f := range w.flags {
		flags = append(flags, "--"+f)
	}
	return cmdline.List(flags)
}

// chooseWay finds the one way whose flags are given.
func chooseWay(c *cli.Context, ways []scoreWay) (way scoreWay, err error) {
	var kinds, expected []string
	chosen := 0
	for _, w := range ways {
		kinds = appendNew(kinds, w.kind)
		given := 0
		for _, f := range w.flags {
			if c.Path(f) != "" {
				given++
			}
		}
		if given > 0 && given < len(w.flags) {
			return way, usagef("vireo pfa score: %s belong together", w.words())
		}
		if w.kind == c.String("kind") {
			expected = append(expected, w.words())
		}
		if given == 0 {
			continue
		}
		if chosen++; w.kind == c.String("kind") {
			way = w
		}
	}
	switch {
	case expected == nil:
		return way, usagef("vireo pfa score: --kind %s: expected %s", c.String("kind"), anyOf(kinds))
	case chosen != 1 || way.begin == nil:
		return way, usagef("vireo pfa score: --kind %s: expected either %s", c.String("kind"), anyOf(expected))
	}
	return way, nil
}

func byModel(score func(*cli.Context, *pfa.Model, io.Writer) error) func(*cli.Context) (func(io.Writer) error, error) {
	return func(c *cli.Context) (func(io.Writer) error, error) {
		m, err := loadModel(c.String("model"))
		return func(w io.Writer) error { return score(c, m, w) }, err
	}
}

func scoreMemory(c *cli.Context) (func(io.Writer) error, error) {
	m, err := loadMemory(c.String("model"))
	if err == nil && m == nil && c.String("model") != "" {
		err = badInput(fmt.Errorf("%s: not a model of memory modules", c.String("model")))
	}
	return func(w io.Writer) error {
		table, _, err := readFeatures(c.Path("features"), false)
		if err != nil {
			return err
		}
		return pfa.ScoreMemory(c.Context, m, table, w)
	}, err
}

// readFeatures reads a table of features, and says what it is made from.
func readFeatures(path string, labelled bool) (*pfa.FeatureTable, string, error) {
	src, err := openSource(path)
	if err != nil {
		return nil, "", err
	}
	defer src.file.Close()
	table, err := pfa.ReadFeatureTable(src.name, src, labelled)
	if err != nil {
		return nil, "", err
	}
	sum, err := src.close()
	return table, sum, err
}

func scoreLandmarks(c *cli.Context, m *pfa.Model, w io.Writer) error {
	said := newProgress(c)
	drives, left, err := readUnlabelled(c.Path("drives"), c.Path("segments"))
	if err != nil {
		return err
	}
	if left > 0 {
		said.step("left out %s of drives that %s does not list", counted(left, "segment"), c.Path("drives"))
	}
	src, err := openSource(c.Path("landmarks"))
	if err != nil {
		return err
	}
	defer src.file.Close()
	return m.ScoreLandmarks(c.Context, drives, src.name, src, w, func(done int) { said.at("%s scored", counted(done, "landmark")) })
}

func readUnlabelled(drivesPath, segmentsPath string) (drives []pfa.Drive, left int, err error) {
	d, err := openSource(drivesPath)
	if err != nil {
		return nil, 0, err
	}
	defer d.file.Close()
	if drives, err = pfa.ReadDrives(d.name, d, false); err != nil {
		return nil, 0, err
	}
	s, err := openSource(segmentsPath)
	if err != nil {
		return nil, 0, err
	}
	defer s.file.Close()
	left, err = pfa.ReadSegmentsOf(s.name, s, drives)
	return drives, left, err
}

func scoreDaily(c *cli.Context, m *pfa.Model, w io.Writer) error {
	said := newProgress(c)
	src, err := openSource(c.Path("daily"))
	if err != nil {
		return err
	}
	defer src.file.Close()
	return m.ScoreDaily(c.Context, src.name, src, w, func(done, of int) { said.at("%d of %s scored", done, counted(of, "row")) })
}

func appendNew(all []string, s string) []string {
	for _, x := range all {
		if x == s {
			return all
		}
	}
	return append(all, s)
}

// anyOf lists alternatives: "a", "a or b".
func anyOf(what []string) string {
	out := what[0]
	for _, w := range what[1:] {
		out += " or " + w
	}
	return out
}
