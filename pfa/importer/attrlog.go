package importer

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// attrlogTime is how smartd writes the time, in the zone it runs in; UTC is
// assumed.
const attrlogTime = "2006-01-02 15:04:05"

// Attrlog says whether a file is, by its name, smartd's attribute log of an ATA
// drive (attrlog.MODEL-SERIAL.ata.csv), and which drive it is of. smartd writes _
// for what is neither letter nor digit.
func Attrlog(path string) (model, serial string, ok bool) {
	name, ok := strings.CutPrefix(filepath.Base(path), "attrlog.")
	if !ok {
		return "", "", false
	}
	if name, ok = strings.CutSuffix(name, ".ata.csv"); !ok {
		return "", "", false
	}
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || i == len(name)-1 {
		return "", "", false
	}
	return attrlogModel(name[:i]), name[i+1:], true
}

// attrlogModel undoes what smartd does to a model: a vendor is followed by a
// space, a Seagate's or Western Digital's variant by a dash.
func attrlogModel(s string) string {
	for _, vendor := range []string{"WDC", "HGST", "TOSHIBA", "Hitachi", "SAMSUNG", "SEAGATE", "Seagate"} {
		if rest, ok := strings.CutPrefix(s, vendor+"_"); ok {
			return vendor + " " + strings.Replace(rest, "_", "-", 1)
		}
	}
	return strings.Replace(s, "_", "-", 1)
}

// ReadAttrlog reads smartd's attribute log of one drive: a line is a time, then
// for each attribute its number, normalised and raw value, all ended by ";".
func ReadAttrlog(name, host, model, serial string, r io.Reader) ([]signal.Reading, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	var out []signal.Reading
	for line := 1; in.Scan(); line++ {
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(text, ";"), ";")
		at, err := time.Parse(attrlogTime, strings.TrimSpace(fields[0]))
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, wrong("time", fields[0], "one as "+attrlogTime))
		}
		if len(fields)%3 != 1 {
			return nil, fmt.Errorf("%s: line %d: %d fields after the time, expected number, normalised and raw value of each attribute", name, line, len(fields)-1)
		}
		add := func(r signal.Reading) {
			r.Host, r.Component, r.ObservedAt, r.Status, r.BootID, r.Seq = host, signal.DiskComponent(serial), at, signal.OK, "recorded", uint64(len(out)+1)
			out = append(out, r)
		}
		if len(out) == 0 {
			add(signal.Reading{Signal: signal.DriveModel, Text: model})
			add(signal.Reading{Signal: signal.DriveProtocol, Text: "ATA"})
		}
		for f := 1; f < len(fields); f += 3 {
			id, err := strconv.ParseUint(strings.TrimSpace(fields[f]), 10, 8)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d: %w", name, line, wrong("attribute", fields[f], "a number from 0 to 255"))
			}
			raw, err := strconv.ParseUint(strings.TrimSpace(fields[f+2]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d: %w", name, line, wrong(fmt.Sprintf("raw value of attribute %d", id), fields[f+2], "a whole number"))
			}
			if s, known := signal.ATAAttribute(int(id)); known {
				v := float64(raw)
				entry, _ := signal.Lookup(s)
				add(signal.Reading{Signal: s, Value: &v, Unit: entry.Unit})
			}
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no line", name)
	}
	return out, nil
}
