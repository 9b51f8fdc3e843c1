package importer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

func TestAttrlogNames(t *testing.T) {
	for path, want := range map[string]string{
		"/var/lib/smartmontools/attrlog.ST4000DM000_1F2168-Z300V1RR.ata.csv": "ST4000DM000-1F2168|Z300V1RR",
		"attrlog.WDC_WD30EFRX_68EUZN0-WD_WMC4N0000000.ata.csv":               "WDC WD30EFRX-68EUZN0|WD_WMC4N0000000",
		"attrlog.HGST_HMS5C4040ALE640-PL1331LAGD.ata.csv":                    "HGST HMS5C4040ALE640|PL1331LAGD",
		"attrlog.X-Y.scsi.csv": "", "attrlog.nothing.ata.csv": "", "drive.csv": "",
	} {
		model, serial, ok := Attrlog(path)
		if got := model + "|" + serial; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestReadAttrlog(t *testing.T) {
	text := "2014-09-28 00:05:01;\t5;100;8;\t9;92;7440;\t197;98;640;\t240;100;9;\n\n2014-09-29 00:05:01;\t5;100;16;\t9;92;7464;\n"
	got, err := ReadAttrlog("log", "h1", "ST4000DM000", "Z3", strings.NewReader(text))
	if err != nil || len(got) != 2+3+2 {
		t.Fatalf("%d readings, %v", len(got), err)
	}
	if r := got[4]; r.Signal != signal.SmartPendingSectors || *r.Value != 640 || r.Component != "disk:Z3" || r.Host != "h1" ||
		!r.ObservedAt.Equal(time.Date(2014, 9, 28, 0, 5, 1, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
	for text, want := range map[string]string{
		"":                                 "log: no line",
		"yesterday;\t5;100;8;\n":           `log: line 1: time is "yesterday", expected`,
		"2014-09-28 00:05:01;\t5;100;\n":   "log: line 1: 2 fields after the time",
		"2014-09-28 00:05:01;\tx;1;2;\n":   `attribute is "\tx", expected a number from 0 to 255`,
		"2014-09-28 00:05:01;\t5;1;-2;\n":  `raw value of attribute 5 is "-2", expected a whole number`,
		"2014-09-28 00:05:01;\t256;1;2;\n": "attribute",
	} {
		if _, err := ReadAttrlog("log", "h", "m", "s", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestTables(t *testing.T) {
	csv := "observed_at,component,signal,value,text,more\n2026-03-01T12:00:00Z,disk:A,smart_197_raw,24,,x\n1772366400,disk:A,drive_model,,ST4000DM000,\n"
	json := `{"component":"disk:A","signal":"smart_197_raw","value":24,"observed_at":"2026-03-01T12:00:00Z","more":[1]}` + "\n\n" +
		`{"component":"disk:A","signal":"drive_model","text":"ST4000DM000","observed_at":1772366400}` + "\n"
	for name, read := range map[string]func() ([]signal.Reading, error){
		"csv":    func() ([]signal.Reading, error) { return ReadCSV("f", "h1", strings.NewReader(csv)) },
		"ndjson": func() ([]signal.Reading, error) { return ReadNDJSON("f", "h1", strings.NewReader(json)) },
	} {
		got, err := read()
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		if r := got[0]; *r.Value != 24 || r.Unit != signal.Count || r.Status != signal.OK || r.Host != "h1" {
			t.Errorf("%s: %+v", name, r)
		}
		if r := got[1]; r.Text != "ST4000DM000" || r.Value != nil || !r.ObservedAt.Equal(got[0].ObservedAt) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	head := "component,signal,observed_at,value\n"
	for text, want := range map[string]string{
		"component,signal\n":                           `f: column "observed_at" is missing`,
		head + "A,smart_197_raw,1772366400,1\n":        `f: line 2: component is "A", expected KIND:NAME`,
		head + "disk:A,smart_1000_raw,1772366400,1\n":  `signal is "smart_1000_raw", expected a name of the catalogue`,
		head + "disk:A,smart_197_raw,yesterday,1\n":    `observed_at is "yesterday", expected a time`,
		head + "disk:A,smart_197_raw,1772366400,NaN\n": `value is "NaN", expected a number`,
		head + "disk:A,smart_197_raw,1772366400,\n":    `value is "", expected a number, or words`,
		head + "disk:A,smart_197_raw\n":                "wrong number of fields",
	} {
		if _, err := ReadCSV("f", "h", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{\n":                          "f: line 1:",
		`{"component":true}` + "\n":    `component is "true", expected text or a number`,
		strings.Repeat("x", maxLine+1): "token too long",
		`{"component":"disk:A","signal":"x"}` + "": `signal is "x"`,
	} {
		if _, err := ReadNDJSON("f", "h", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestShiftAndUntil(t *testing.T) {
	var readings []signal.Reading
	for d := range 10 {
		readings = append(readings, signal.Reading{ObservedAt: time.Date(2026, 3, 1+d, 7, 0, 0, 0, time.UTC)})
	}
	readings = Until(readings, -3)
	Shift(readings, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	if n := len(readings); n != 7 || !readings[n-1].ObservedAt.Equal(time.Date(2027, 1, 1, 7, 0, 0, 0, time.UTC)) {
		t.Errorf("%d, last %v", n, readings[n-1].ObservedAt)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("component,signal,observed_at,value\ndisk:A,smart_5_raw,1772366400,1\n"))
	f.Add([]byte(`{"component":"disk:A","signal":"smart_5_raw","value":1,"observed_at":1}`))
	f.Add([]byte("2014-09-28 00:05:01;\t5;100;8;\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func() ([]signal.Reading, error){
			func() ([]signal.Reading, error) { return ReadCSV("f", "h", bytes.NewReader(b)) },
			func() ([]signal.Reading, error) { return ReadNDJSON("f", "h", bytes.NewReader(b)) },
			func() ([]signal.Reading, error) { return ReadAttrlog("f", "h", "m", "s", bytes.NewReader(b)) },
		} {
			got, err := read()
			for _, r := range got {
				if _, known := signal.Lookup(r.Signal); err == nil && (!known || r.Value == nil && r.Text == "") {
					t.Errorf("%+v", r)
				}
			}
		}
	})
}
