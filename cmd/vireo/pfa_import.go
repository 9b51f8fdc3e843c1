package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/importer"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// pfaCommand is `vireo pfa`, with what needs a manager.
func (p *program) pfaCommand() *cli.Command {
	c := pfaCommand()
	c.Subcommands = append(c.Subcommands, p.pfaImportCommand(), p.pfaBacktestCommand(), p.pfaLedgerCommand(), p.pfaDriftCommand())
	return c
}

func (p *program) pfaImportCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "give a host the recorded past of drives, as if its agent had reported it",
		ArgsUsage: "FILE…",
		Description: "FILE is one of\n" +
			"  Backblaze's daily columns (date, serial_number, model, smart_N_raw, …), one drive: shifted so that the last day is --last-day\n" +
			"  smartd's attribute log, attrlog.MODEL-SERIAL.ata.csv\n" +
			"  a table of readings: .csv, .ndjson or .jsonl (also .gz), or .parquet, with the columns component (disk:SERIAL), signal\n" +
			"  (smart_197_raw, …), observed_at (RFC 3339 or seconds since 1970), value, text (of drive_model, drive_protocol), boot_id\n" +
			"The last two keep their time unless --last-day is given. Importing the same twice changes nothing.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "as-readings", Usage: "store them as the host's readings (the only way there is)"},
			&cli.StringFlag{Name: "host", Required: true, Usage: "the `HOST` whose past it becomes"},
			&cli.IntFlag{Name: "until", Usage: "leave out what is later than so many `DAYS` after the record's end: -26 stops 26 days before it"},
			&cli.TimestampFlag{Name: "last-day", Layout: time.DateOnly, Timezone: time.UTC, Usage: "the `DAY` that the last one becomes", DefaultText: "yesterday"},
			jsonFlag(),
		},
		Action: p.pfaImport,
	}
}

func (p *program) pfaImport(c *cli.Context) error {
	switch {
	case c.NArg() == 0:
		return usagef("vireo pfa import: expected at least one FILE")
	case !c.Bool("as-readings"):
		return usagef("vireo pfa import: expected --as-readings")
	case c.Int("until") > 0:
		return usagef("vireo pfa import: --until %d: expected 0 or a negative number of days", c.Int("until"))
	}
	lastDay := p.now().UTC().AddDate(0, 0, -1)
	if t := c.Timestamp("last-day"); t != nil {
		lastDay = *t
	}
	total := &managerv1.ImportReadingsResponse{}
	for _, path := range c.Args().Slice() {
		readings, err := recordedReadings(path, c.String("host"), c.Int("until"), lastDay, c.IsSet("last-day"))
		if err != nil {
			return badInput(err)
		}
		kept, err := p.importReadings(c.Context, c.String("host"), readings)
		if err != nil {
			return err
		}
		total.Kept += kept
		if !c.Bool("json") {
			p.printf("%s: %s, %d new\n", path, counted(len(readings), "reading"), kept)
		}
	}
	if c.Bool("json") {
		return p.printJSON(total)
	}
	return nil
}

// recordedReadings reads a file, whose format its name and first line tell.
// Backblaze's days are always shifted, others when a last day is asked for.
func recordedReadings(path, host string, until int, lastDay time.Time, shift bool) (readings []signal.Reading, err error) {
	daily := false
	switch model, serial, isLog := importer.Attrlog(path); {
	case strings.HasSuffix(path, ".parquet"):
		readings, err = readParquet(path, host)
	case isLog:
		readings, err = fromSource(path, func(f io.Reader) ([]signal.Reading, error) { return importer.ReadAttrlog(path, host, model, serial, f) })
	case strings.HasPrefix(filepath.Base(path), "attrlog."):
		return nil, fmt.Errorf("%s: expected smartd's log of an ATA drive, attrlog.MODEL-SERIAL.ata.csv", path)
	case isNDJSON(path):
		readings, err = fromSource(path, func(f io.Reader) ([]signal.Reading, error) { return importer.ReadNDJSON(path, host, f) })
	default:
		readings, err = fromSource(path, func(f io.Reader) ([]signal.Reading, error) {
			in := bufio.NewReader(f)
			head, _ := in.Peek(4096)
			if first, _, _ := bytes.Cut(head, []byte("\n")); bytes.Contains(first, []byte("observed_at")) {
				return importer.ReadCSV(path, host, in)
			}
			daily = true
			record, err := pfa.ReadRecorded(path, in)
			return record.Until(until).Readings(host, lastDay), err
		})
		shift = shift && !daily
	}
	if err != nil {
		return nil, err
	}
	if !daily {
		readings = importer.Until(readings, until)
	}
	if len(readings) == 0 {
		return nil, fmt.Errorf("%s: nothing is recorded until %d days before its end", path, -until)
	}
	if shift {
		importer.Shift(readings, lastDay)
	}
	return readings, nil
}

func isNDJSON(path string) bool {
	path = strings.TrimSuffix(path, ".gz")
	return strings.HasSuffix(path, ".ndjson") || strings.HasSuffix(path, ".jsonl")
}

func fromSource(path string, read func(io.Reader) ([]signal.Reading, error)) ([]signal.Reading, error) {
	f, err := openSource(path)
	if err != nil {
		return nil, err
	}
	defer f.file.Close()
	return read(f)
}

// importAtOnce is how many readings go with one request.
const importAtOnce = 5000

func (p *program) importReadings(ctx context.Context, host string, readings []signal.Reading) (kept uint64, err error) {
	for chunk := range slices.Chunk(readings, importAtOnce) {
		req := &managerv1.ImportReadingsRequest{Host: host}
		for _, r := range chunk {
			req.Readings = append(req.Readings, &managerv1.ImportedReading{Component: r.Component, Signal: r.Signal, Value: r.Value,
				Text: r.Text, Unit: r.Unit, ObservedAt: timestamppb.New(r.ObservedAt), Status: string(r.Status)})
		}
		res, err := call(ctx, p, managerv1connect.ManagerServiceClient.ImportReadings, req)
		if err != nil {
			return kept, err
		}
		kept += res.Kept
	}
	return kept, nil
}
