package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Row is one reading as a table has it; fields that it has not are "".
type Row struct {
	Component  string
	Signal     string
	ObservedAt string
	Value      string
	Text       string
	BootID     string
}

// Columns are the table's columns, the required ones first.
var Columns = []string{"component", "signal", "observed_at", "value", "text", "boot_id"}

const required = 3

// maxText bounds a field.
const maxText = 256

// wrong says what of a row is wrong.
func wrong(column, value, expected string) error {
	return fmt.Errorf("%s is %q, expected %s", column, value, expected)
}

// Reading makes a reading of a row.
func (r Row) Reading(host string, seq uint64) (signal.Reading, error) {
	out := signal.Reading{Host: host, Component: r.Component, Signal: r.Signal, Text: r.Text, BootID: r.BootID, Seq: seq, Status: signal.OK}
	kind, name, ok := strings.Cut(r.Component, ":")
	if r.Component != "cpu" && r.Component != "os" && (!ok || kind == "" || name == "") || len(r.Component) > maxText {
		return out, wrong("component", r.Component, "KIND:NAME such as disk:Z300V1RR, cpu or os")
	}
	line, ok := signal.Lookup(r.Signal)
	if !ok {
		return out, wrong("signal", r.Signal, "a name of the catalogue such as "+signal.SmartPendingSectors)
	}
	out.Unit = line.Unit
	if len(r.Text) > maxText || len(r.BootID) > maxText {
		return out, wrong("text", r.Text[:min(32, len(r.Text))]+"…", fmt.Sprintf("at most %d bytes", maxText))
	}
	var err error
	if out.ObservedAt, err = moment(r.ObservedAt); err != nil {
		return out, err
	}
	if r.Value != "" {
		v, err := strconv.ParseFloat(r.Value, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return out, wrong("value", r.Value, "a number")
		}
		out.Value = &v
	}
	if out.Value == nil && out.Text == "" {
		return out, wrong("value", "", "a number, or words in text")
	}
	return out, nil
}

// moment reads a time.
func moment(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	if x, err := strconv.ParseFloat(s, 64); err == nil && x > 0 && x < 1<<34 {
		return time.Unix(int64(x), 0).UTC(), nil
	}
	return time.Time{}, wrong("observed_at", s, "a time as 2026-03-01T12:00:00Z, or seconds since 1970")
}

// ReadCSV reads a table whose first line names the columns; others are ignored.
func ReadCSV(name, host string, r io.Reader) ([]signal.Reading, error) {
	in := csv.NewReader(bufio.NewReader(r))
	in.ReuseRecord = true
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: first line: expected the names of columns: %w", name, err)
	}
	at := map[string]int{}
	for i, h := range head {
		at[strings.TrimSpace(h)] = i
	}
	for _, c := range Columns[:required] {
		if _, ok := at[c]; !ok {
			return nil, fmt.Errorf("%s: column %q is missing", name, c)
		}
	}
	var out []signal.Reading
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		field := func(c string) string {
			if i, ok := at[c]; ok {
				return strings.Clone(row[i])
			}
			return ""
		}
		x, err := Row{field("component"), field("signal"), field("observed_at"), field("value"), field("text"), field("boot_id")}.Reading(host, uint64(len(out)+1))
		if err != nil {
			line, _ := in.FieldPos(0)
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		out = append(out, x)
	}
}

// maxLine bounds a line of NDJSON.
const maxLine = 64 << 10

// ReadNDJSON reads one JSON object a line, with the columns as keys; others are
// ignored.
func ReadNDJSON(name, host string, r io.Reader) ([]signal.Reading, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	var out []signal.Reading
	line := 0
	for in.Scan() {
		if line++; len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		var object map[string]any
		d := json.NewDecoder(bytes.NewReader(in.Bytes()))
		d.UseNumber()
		if err := d.Decode(&object); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		var row Row
		for c, to := range map[string]*string{"component": &row.Component, "signal": &row.Signal, "observed_at": &row.ObservedAt,
			"value": &row.Value, "text": &row.Text, "boot_id": &row.BootID} {
			switch v := object[c].(type) {
			case nil:
			case string:
				*to = v
			case json.Number:
				*to = v.String()
			default:
				return nil, fmt.Errorf("%s: line %d: %w", name, line, wrong(c, fmt.Sprint(v), "text or a number"))
			}
		}
		x, err := row.Reading(host, uint64(len(out)+1))
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		out = append(out, x)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: line %d: %w", name, line+1, err)
	}
	return out, nil
}

// Shift moves readings in time so that the last day becomes lastDay.
func Shift(readings []signal.Reading, lastDay time.Time) {
	if len(readings) == 0 {
		return
	}
	last := slices.MaxFunc(readings, func(a, b signal.Reading) int { return a.ObservedAt.Compare(b.ObservedAt) }).ObservedAt
	by := lastDay.UTC().Truncate(24 * time.Hour).Sub(last.Truncate(24 * time.Hour))
	for i := range readings {
		readings[i].ObservedAt = readings[i].ObservedAt.Add(by)
	}
}

// Until leaves out what is later than so many days after the last day: 0 keeps
// all, -26 ends 26 days before it.
func Until(readings []signal.Reading, days int) []signal.Reading {
	if len(readings) == 0 {
		return readings
	}
	last := slices.MaxFunc(readings, func(a, b signal.Reading) int { return a.ObservedAt.Compare(b.ObservedAt) }).ObservedAt
	end := last.Truncate(24*time.Hour).AddDate(0, 0, days+1)
	return slices.DeleteFunc(readings, func(r signal.Reading) bool { return !r.ObservedAt.Before(end) })
}
