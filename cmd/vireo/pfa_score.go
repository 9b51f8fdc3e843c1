package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

func pfaScoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "score",
		Usage: "score recorded data: one row of probabilities (0 to 1) per landmark or per daily row",
		Description: "--segments, --drives and --landmarks score each landmark (serial_number, poh) by the drive's readings up to that hour.\n" +
			"--daily scores each row of a table in Backblaze's columns by the drive's rows up to that date.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kind", Value: "disk", Usage: "`KIND` of component: disk"},
			&cli.PathFlag{Name: "segments", Usage: "`FILE`.csv[.gz] in the columns of hdd_history_segments"},
			&cli.PathFlag{Name: "drives", Usage: "`FILE`.csv[.gz] in the columns of hdd_history_drives"},
			&cli.PathFlag{Name: "landmarks", Usage: "`FILE`.csv[.gz] with serial_number, poh"},
			&cli.PathFlag{Name: "daily", Usage: "`FILE`.csv[.gz] with date, serial_number, model, smart_N_raw…"},
			&cli.PathFlag{Name: "out", Required: true, Usage: "`FILE`.csv to write"},
			modelFlag,
		},
		Action: func(c *cli.Context) error {
			if kind := c.String("kind"); kind != "disk" {
				return badInput(fmt.Errorf("--kind %s: expected disk", kind))
			}
			m, err := loadModel(c.String("model"))
			if err != nil {
				return err
			}
			var rows [][]string
			switch history := c.Path("segments") != "" || c.Path("drives") != "" || c.Path("landmarks") != ""; {
			case history == (c.Path("daily") != ""):
				err = errors.New("give either --daily, or --segments, --drives and --landmarks")
			case history && (c.Path("segments") == "" || c.Path("drives") == "" || c.Path("landmarks") == ""):
				err = errors.New("--segments, --drives and --landmarks belong together")
			case history:
				rows, err = scoreLandmarks(m, c.Path("drives"), c.Path("segments"), c.Path("landmarks"))
			default:
				rows, err = scoreDaily(m, c.Path("daily"))
			}
			if err != nil {
				return badInput(err)
			}
			var b bytes.Buffer
			if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
				return err
			}
			return writeWhole(c.Path("out"), b.Bytes())
		},
	}
}

func scoreLandmarks(m *pfa.Model, drives, segments, landmarks string) ([][]string, error) {
	h, err := readHistoryFiles(drives, segments, false)
	if err != nil {
		return nil, err
	}
	src, err := openSource(landmarks)
	if err != nil {
		return nil, err
	}
	defer src.file.Close()
	marks, err := pfa.ReadLandmarks(src.name, src)
	if err != nil {
		return nil, err
	}
	verdicts, err := m.ScoreLandmarks(h.drives, marks)
	if err != nil {
		return nil, err
	}
	rows := [][]string{append([]string{"serial_number", "poh"}, pfa.ScoreColumns...)}
	for i, v := range verdicts {
		rows = append(rows, append([]string{marks[i].Serial, strconv.FormatInt(marks[i].Hour, 10)}, v.ScoreFields()...))
	}
	return rows, nil
}

func scoreDaily(m *pfa.Model, path string) ([][]string, error) {
	src, err := openSource(path)
	if err != nil {
		return nil, err
	}
	defer src.file.Close()
	scores, err := m.ScoreDaily(src.name, src)
	if err != nil {
		return nil, err
	}
	rows := [][]string{append([]string{"date", "serial_number"}, pfa.ScoreColumns...)}
	for _, s := range scores {
		rows = append(rows, append([]string{s.Date.Format(time.DateOnly), s.Serial}, s.Verdict.ScoreFields()...))
	}
	return rows, nil
}
