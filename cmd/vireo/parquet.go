package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vireo-kvm/vireo/pfa/importer"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// readParquet reads a table in the importer's schema. Times may be timestamps,
// numbers of seconds, or text.
func readParquet(path, host string) (out []signal.Reading, err error) {
	defer func() { // the library panics on some damaged files
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("%s: damaged: %v", path, p)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	columns := map[string]parquet.LeafColumn{}
	for _, name := range importer.Columns {
		if leaf, ok := file.Schema().Lookup(name); ok {
			columns[name] = leaf
		}
	}
	for _, name := range importer.Columns[:3] {
		if _, ok := columns[name]; !ok {
			return nil, fmt.Errorf("%s: column %q is missing", path, name)
		}
	}
	for _, group := range file.RowGroups() {
		if out, err = readGroup(path, host, group, columns, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readGroup(path, host string, group parquet.RowGroup, columns map[string]parquet.LeafColumn, out []signal.Reading) (_ []signal.Reading, err error) {
	rows := group.Rows()
	defer func() { err = errors.Join(err, rows.Close()) }()
	buffer := make([]parquet.Row, 512)
	for {
		n, err := rows.ReadRows(buffer)
		for _, row := range buffer[:n] {
			var x importer.Row
			for name, to := range map[string]*string{"component": &x.Component, "signal": &x.Signal, "observed_at": &x.ObservedAt,
				"value": &x.Value, "text": &x.Text, "boot_id": &x.BootID} {
				if leaf, ok := columns[name]; ok {
					*to = parquetText(row, leaf)
				}
			}
			r, err := x.Reading(host, uint64(len(out)+1))
			if err != nil {
				return nil, fmt.Errorf("%s: row %d: %w", path, len(out)+1, err)
			}
			out = append(out, r)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// parquetText is a field as text, "" for null.
func parquetText(row parquet.Row, leaf parquet.LeafColumn) string {
	for _, v := range row {
		if v.Column() != leaf.ColumnIndex || v.IsNull() {
			continue
		}
		if t := leaf.Node.Type().LogicalType(); t != nil {
			if stamp, ok := t.Value.(*format.TimestampType); ok && stamp.Unit.Value != nil {
				unit := stamp.Unit.Value.Duration()
				perSecond := int64(time.Second / unit)
				return time.Unix(v.Int64()/perSecond, v.Int64()%perSecond*int64(unit)).UTC().Format(time.RFC3339)
			}
		}
		switch v.Kind() {
		case parquet.Int32:
			return strconv.FormatInt(int64(v.Int32()), 10)
		case parquet.Int64:
			return strconv.FormatInt(v.Int64(), 10)
		case parquet.Float:
			return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32)
		case parquet.Double:
			return strconv.FormatFloat(v.Double(), 'g', -1, 64)
		}
		return string(v.ByteArray())
	}
	return ""
}
