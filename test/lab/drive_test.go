package lab

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestADriveIsReadByItsDates(t *testing.T) {
	d, err := ReadDrive("testdata/drives/LAB0001.csv")
	if err != nil {
		t.Fatal(err)
	}
	if d.Serial != "LAB0001" || d.Model != "ST4000DM000" || d.Capacity != 4000787030016 || len(d.Days) != 3 {
		t.Fatalf("got %+v", d)
	}
	for i, want := range []int{-3, -2, 0} {
		if d.Days[i].Offset != want {
			t.Errorf("day %d is %d from the last, want %d", i, d.Days[i].Offset, want)
		}
	}
	// Attribute 194 was not recorded on the last day; it must not become a zero.
	for _, a := range d.Days[2].Attributes {
		if a.ID == 194 {
			t.Errorf("the last day has attribute 194: %+v", a)
		}
	}
}

func TestABadRecordIsNamed(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":           {"", "header"},
		"no serial":       {"date,model\n", "serial_number"},
		"no days":         {"date,serial_number,model\n", "no day"},
		"bad date":        {"date,serial_number,model\nyesterday,S,M\n", "line 2: date"},
		"days backwards":  {"date,serial_number,model\n2014-01-02,S,M\n2014-01-01,S,M\n", "line 3"},
		"not a number":    {"date,serial_number,model,smart_5_raw\n2014-01-02,S,M,many\n", "line 2: smart_5_raw"},
		"a negative one":  {"date,serial_number,model,smart_5_raw\n2014-01-02,S,M,-1\n", "line 2: smart_5_raw"},
		"a row too short": {"date,serial_number,model\n2014-01-02,S\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseDrive(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to name %q", err, tc.want)
			}
		})
	}
}

// TestTheStandInSpeaksLikeSmartctl runs the script as an agent would run smartctl.
func TestTheStandInSpeaksLikeSmartctl(t *testing.T) {
	d, err := ReadDrive("testdata/drives/LAB0001.csv")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	smartctl := filepath.Join(dir, "smartctl")
	if err := os.WriteFile(smartctl, []byte(smartctlScript), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "none.json"), []byte(`{"smartctl":{"exit_status":2}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (doc struct {
		Smartctl struct {
			ExitStatus int `json:"exit_status"`
		}
		Devices []struct{ Name string }
		Serial  string                `json:"serial_number"`
		Status  struct{ Passed bool } `json:"smart_status"`
		Table   struct {
			Table []struct {
				ID  int
				Raw struct{ Value uint64 }
			}
		} `json:"ata_smart_attributes"`
	}, exit int) {
		t.Helper()
		cmd := exec.Command(smartctl, args...)
		out, _ := cmd.Output()
		if err := json.Unmarshal(out, &doc); err != nil {
			t.Fatalf("smartctl %v printed %q: %v", args, out, err)
		}
		return doc, cmd.ProcessState.ExitCode()
	}

	if err := writeScan(dir, nil); err != nil {
		t.Fatal(err)
	}
	if doc, exit := call("--scan-open", "--json"); exit != 0 || len(doc.Devices) != 0 {
		t.Errorf("a host without drives: exit %d, %+v", exit, doc)
	}
	if doc, exit := call("--json", "--all", "/dev/sda"); exit != 2 || doc.Smartctl.ExitStatus != 2 {
		t.Errorf("a drive that is not there: exit %d, %+v", exit, doc)
	}
	b, err := d.document(d.Days[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sda.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeScan(dir, []any{device}); err != nil {
		t.Fatal(err)
	}
	if doc, _ := call("--scan-open", "--json"); len(doc.Devices) != 1 || doc.Devices[0].Name != "/dev/sda" {
		t.Errorf("the scan shows %+v", doc.Devices)
	}
	doc, exit := call("--json", "--all", "/dev/sda")
	raw := map[int]uint64{}
	for _, a := range doc.Table.Table {
		raw[a.ID] = a.Raw.Value
	}
	if exit != 0 || doc.Serial != "LAB0001" || raw[5] != 16 || raw[187] != 9 || raw[197] != 24 || raw[9] != 17072 {
		t.Errorf("exit %d, serial %q, attributes %v", exit, doc.Serial, raw)
	}

	day := d.Days[2]
	day.Failed = true
	if b, err = d.document(day); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"sda.json": b, "sda.json.failed": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if doc, exit := call("--json", "--all", "/dev/sda"); exit != 8 || doc.Smartctl.ExitStatus != 8 || doc.Status.Passed {
		t.Errorf("a drive that fails: exit %d, %+v", exit, doc)
	}
}

func TestAnUnknownDriveNamesTheKnownOnes(t *testing.T) {
	l := &Lab{Description{Hosts: []HostSpec{{Name: "h1"}}}}
	err := l.Replay(t.Context(), "h1", Replay{Serial: "NOPE", Drives: "testdata/drives"}, io.Discard)
	if !errors.Is(err, ErrReplay) || !strings.Contains(err.Error(), `no drive "NOPE"`) || !strings.Contains(err.Error(), "LAB0001") {
		t.Errorf("got %v", err)
	}
}
