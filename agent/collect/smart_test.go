package collect

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/run"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestDocuments reads what smartctl really printed.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/smartctl/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			if d, err := parseDocument(text); err != nil {
				got = "error: " + err.Error() + "\n"
			} else if len(d.Devices) > 0 {
				for _, dev := range d.Devices {
					got += fmt.Sprintf("%s %s %s\n", dev.Name, dev.Type, dev.Protocol)
				}
			} else {
				r := readings{at: t0}
				r.drive("disk:"+d.Serial, d)
				got = show(t, r.list, t0)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, string(want))
		})
	}
}

// The verdicts above in numbers that were read by eye from the documents.
func TestWhatDocumentsSay(t *testing.T) {
	for file, wants := range map[string][]string{
		"ata-failing":            {"smart_passed 0 \"FAILED\"", "smart_exit_status 216", "smart_5_raw 1975", "smart_197_raw 8", "smart_187_raw absent"},
		"ata-reported-uncorrect": {"smart_passed 1 \"PASSED\"", "smart_187_raw 1", "smart_5_raw 0"},
		"nvme-failed":            {"nvme_media_errors 7", "nvme_available_spare_percent 99", "nvme_num_err_log_entries 62"},
		"scsi-grown-defects":     {"scsi_grown_defects 260", "scsi_read_uncorrected_errors 1", "scsi_write_uncorrected_errors 535", "scsi_verify_uncorrected_errors absent", "drive_model \"SEAGATE ST373453LC\""},
	} {
		text, err := os.ReadFile(filepath.Join("testdata/smartctl", file+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want+"\n") {
				t.Errorf("%s does not say %q:\n%s", file, want, text)
			}
		}
	}
}

// smartctl makes a Smart whose program is a shell script that finds its
// documents in $D.
func smartctl(t *testing.T, script string) *Smart {
	t.Helper()
	dir, err := filepath.Abs("testdata/smartctl")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "smartctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nD="+dir+"\nfor last; do :; done\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Smart{Path: path, Timeout: 20 * time.Second, Runner: new(run.Runner), Drives: &Drives{Sys: t.TempDir()}}
}

const twoDrives = `
case "$*" in
"--scan-open --json") echo '{"smartctl": {"exit_status": 0}, "devices": [
	{"name": "/dev/sda", "type": "sat", "protocol": "ATA"}, {"name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"}]}' ;;
*"--device=sat /dev/sda") cat $D/ata-failing.json; exit 216 ;;
*"--device=nvme /dev/nvme0") cat $D/nvme-failed.json ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac`

func TestSmart(t *testing.T) {
	s := smartctl(t, twoDrives)
	got := look(t, s, t0)
	for _, want := range []string{
		"disk:MSK423Y20S3HBC smart_passed 0 \"FAILED\"", "disk:S466NX0M776250H nvme_media_errors 7",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for device, want := range map[string]string{"sda": "disk:MSK423Y20S3HBC", "nvme0n1": "disk:S466NX0M776250H", "sdb": "disk:sdb"} {
		if got := s.Drives.Component(device); got != want {
			t.Errorf("%s is %s, want %s", device, got, want)
		}
	}
}

// One drive that fails does not keep the others from being read, and is not
// silently healthy: what was read before stands beside a failed verdict.
func TestSmartFaultsOfOneDrive(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   string
	}{
		"hangs":             {"exec sleep 1000", "no answer in time"},
		"garbage":           {"echo '{\"smartctl\": {\"ex'", "no JSON document"},
		"nothing":           {"exit 0", "no JSON document"},
		"open failed":       {"cat $D/open-failed.json; exit 2", "Open failed, Error=5"},
		"endless":           {"exec yes", "too much output"},
		"no serial number":  {`echo '{"smartctl": {"exit_status": 0}, "model_name": "X"}'`, "no serial number"},
		"odd serial number": {`echo '{"smartctl": {"exit_status": 0}, "serial_number": "a\u0007"}'`, "no serial number"},
	} {
		t.Run(name, func(t *testing.T) {
			flag := filepath.Join(t.TempDir(), "broken")
			s := smartctl(t, `case "$last" in /dev/sda) if [ -e `+flag+` ]; then `+c.script+`; exit; fi ;; esac`+twoDrives)
			s.Timeout = 2 * time.Second
			look(t, s, t0) // all well: the drive is known from now on
			if err := os.WriteFile(flag, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := s.Collect(t.Context(), t1)
			if err == nil || !strings.Contains(err.Error(), "/dev/sda: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			text := show(t, got.Readings, t1)
			if !strings.Contains(text, "disk:S466NX0M776250H nvme_media_errors 7\n") {
				t.Errorf("the other drive was not read:\n%s", text)
			}
			if strings.Contains(text, "disk:MSK423Y20S3HBC smart_5_raw") {
				t.Errorf("values of a drive that was not read:\n%s", text)
			}
			if strings.Contains(name, "serial") {
				return // whose drive that was nobody can say
			}
			if !strings.Contains(text, "disk:MSK423Y20S3HBC smart_passed") || !strings.Contains(text, "failed\n") {
				t.Errorf("no failed verdict:\n%s", text)
			}
		})
	}
}

// A drive that does not answer is asked seldom, so that the others' readings are
// not late each time; and asked again in the end.
func TestSmartLeavesASilentDriveAlone(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	s := smartctl(t, `case "$last" in /dev/sda) echo x >>`+asked+`; exec sleep 1000 ;; esac`+twoDrives)
	s.Timeout = time.Second
	for _, c := range []struct {
		at   time.Duration
		asks int
	}{{0, 1}, {time.Second, 1}, {9 * time.Second, 1}, {10 * time.Second, 2}, {11 * time.Second, 2}} {
		at := t0.Add(c.at)
		got, err := s.Collect(t.Context(), at)
		if !errors.Is(err, run.ErrTimeout) || !strings.Contains(show(t, got.Readings, at), "nvme_media_errors 7") {
			t.Errorf("after %s: %v", c.at, err)
		}
		text, err := os.ReadFile(asked)
		if err != nil || strings.Count(string(text), "x") != c.asks {
			t.Errorf("after %s the drive was asked %d times, want %d (%v)", c.at, strings.Count(string(text), "x"), c.asks, err)
		}
	}
}

func TestSmartFaultsOfTheProgram(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   error
		text   string
	}{
		"hangs":       {"exec sleep 1000", run.ErrTimeout, ""},
		"garbage":     {"echo hello", nil, `no JSON document`},
		"exits 1":     {`echo '{"smartctl": {"exit_status": 1, "messages": [{"string": "UNRECOGNIZED OPTION: scan-open", "severity": "error"}]}}'; exit 1`, nil, "UNRECOGNIZED OPTION"},
		"dies":        {"kill -9 $$", run.ErrSignal, ""},
		"no drives":   {`echo '{"smartctl": {"exit_status": 0}}'`, ErrAbsent, ""},
		"array":       {"echo '[]'", nil, "no JSON document"},
		"wrong types": {`echo '{"devices": "none"}'`, nil, "no JSON document"},
	} {
		t.Run(name, func(t *testing.T) {
			s := smartctl(t, c.script)
			s.Timeout = time.Second
			got, err := s.Collect(t.Context(), t0)
			if err == nil || len(got.Readings) != 0 || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Collect = %d readings, %v", len(got.Readings), err)
			}
			if c.want != ErrAbsent && errors.Is(err, ErrAbsent) {
				t.Errorf("broken is not absent: %v", err)
			}
		})
	}
	s := &Smart{Path: "/nonexistent/smartctl", Timeout: time.Second, Runner: new(run.Runner), Drives: &Drives{}}
	if _, err := s.Collect(t.Context(), t0); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrAbsent) {
		t.Errorf("missing: %v", err)
	}
}

// Two paths to one drive are one drive.
func TestSmartMultipath(t *testing.T) {
	s := smartctl(t, `case "$1" in --scan-open) echo '{"devices": [{"name": "/dev/sda"}, {"name": "/dev/sdb"}]}' ;; *) cat $D/ata-failing.json ;; esac`)
	if got := look(t, s, t0); strings.Count(got, "smart_5_raw") != 1 {
		t.Errorf("got\n%s", got)
	}
}

func FuzzDocument(f *testing.F) {
	files, err := filepath.Glob("testdata/smartctl/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDocument(text)
		if err != nil {
			return
		}
		r := readings{at: t0}
		r.drive("disk:X", d)
		show(t, r.list, t0)
	})
}
