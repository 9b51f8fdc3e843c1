package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/vireo-kvm/vireo/pfa"
)

// pfaCommand is `vireo pfa`: models and recorded data, without a manager.
func pfaCommand() *cli.Command {
	return &cli.Command{
		Name:  "pfa",
		Usage: "train, evaluate and question models that predict failures; needs no manager",
		Subcommands: []*cli.Command{
			pfaTrainCommand(), pfaEvaluateCommand(), pfaScoreCommand(), pfaExplainCommand(), pfaModelCommand(), pfaSampleCommand(),
		},
	}
}

// badInput marks an error as the caller's: wrong flags or a file that is not
// what it should be.
func badInput(err error) error {
	if err == nil {
		return nil
	}
	return cli.Exit(err.Error(), 2)
}

// source is an opened data file: decompressed for its reader, hashed as it lies
// on disk.
type source struct {
	io.Reader
	name string
	file *os.File
	sum  func() string
	tee  io.Reader
}

func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	s := &source{name: filepath.Base(path), file: f, sum: func() string { return hex.EncodeToString(h.Sum(nil)) }}
	s.tee = io.TeeReader(f, h)
	s.Reader = s.tee
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(s.tee)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: expected a gzip file, as its name says: %w", path, err)
		}
		s.Reader = z
	}
	return s, nil
}

// close finishes the hash over whatever was not read and closes the file.
func (s *source) close() (sum string, err error) {
	_, err = io.Copy(io.Discard, s.tee)
	return s.sum(), errors.Join(err, s.file.Close())
}

// history is a labelled history read from a directory.
type history struct {
	drives  []pfa.Drive
	sources []pfa.Source
}

// readHistory reads hdd_history_drives*.csv[.gz] and the segments beside it
// from dir, or from its folder disk.
func readHistory(dir string) (history, error) {
	drives, err := findFile(dir, "hdd_history_drives*.csv*")
	if err != nil {
		return history{}, err
	}
	segments, err := findFile(filepath.Dir(drives), "hdd_history_segments*.csv*")
	if err != nil {
		return history{}, err
	}
	return readHistoryFiles(drives, segments, true)
}

func readHistoryFiles(drivesPath, segmentsPath string, labelled bool) (history, error) {
	var h history
	d, err := openSource(drivesPath)
	if err != nil {
		return h, err
	}
	defer d.file.Close()
	if h.drives, err = pfa.ReadDrives(d.name, d, labelled); err != nil {
		return h, err
	}
	sum, err := d.close()
	if err != nil {
		return h, err
	}
	h.sources = append(h.sources, pfa.Source{Name: d.name, SHA256: sum, Rows: len(h.drives)})
	s, err := openSource(segmentsPath)
	if err != nil {
		return h, err
	}
	defer s.file.Close()
	if err = pfa.ReadSegments(s.name, s, h.drives); err != nil {
		return h, err
	}
	if sum, err = s.close(); err != nil {
		return h, err
	}
	rows := 0
	for i := range h.drives {
		rows += len(h.drives[i].Segments)
	}
	h.sources = append(h.sources, pfa.Source{Name: s.name, SHA256: sum, Rows: rows})
	return h, nil
}

func findFile(dir, pattern string) (string, error) {
	for _, d := range []string{dir, filepath.Join(dir, "disk")} {
		found, err := filepath.Glob(filepath.Join(d, pattern))
		if err != nil {
			return "", err
		}
		if len(found) > 1 {
			sort.Strings(found)
			return "", fmt.Errorf("%s: %d files match %s, expected one: %s", d, len(found), pattern, strings.Join(found, ", "))
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("%s: no file %s there or in its folder disk", dir, pattern)
}

// loadModel reads a model file, or the one in the binary for "".
func loadModel(path string) (*pfa.Model, error) {
	if path == "" {
		return pfa.Default()
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, badInput(err)
	}
	m, err := pfa.Load(b)
	if err != nil {
		return nil, badInput(fmt.Errorf("%s: %w", path, err))
	}
	return m, nil
}

var modelFlag = &cli.StringFlag{Name: "model", Usage: "model `FILE`.vpfa instead of the one in this binary"}
