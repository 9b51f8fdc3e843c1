package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// Every format that import knows ends as the same readings.
func TestImportFormats(t *testing.T) {
	type row struct {
		Component  string    `parquet:"component"`
		Signal     string    `parquet:"signal"`
		ObservedAt time.Time `parquet:"observed_at,timestamp(millisecond)"`
		Value      *float64  `parquet:"value,optional"`
		Text       *string   `parquet:"text,optional"`
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	model, protocol, value := "ST4000DM000-1F2168", "ATA", 24.0
	dir := t.TempDir()
	table := filepath.Join(dir, "t.parquet")
	if err := parquet.WriteFile(table, []row{{"disk:Z3", "drive_model", at, nil, &model}, {"disk:Z3", "drive_protocol", at, nil, &protocol},
		{"disk:Z3", "smart_197_raw", at, &value, nil}}); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"t.csv": "component,signal,observed_at,value,text\ndisk:Z3,drive_model,2026-03-01T12:00:00Z,,ST4000DM000-1F2168\n" +
			"disk:Z3,drive_protocol,2026-03-01T12:00:00Z,,ATA\ndisk:Z3,smart_197_raw,2026-03-01T12:00:00Z,24,\n",
		"t.ndjson": `{"component":"disk:Z3","signal":"drive_model","observed_at":"2026-03-01T12:00:00Z","text":"ST4000DM000-1F2168"}` + "\n" +
			`{"component":"disk:Z3","signal":"drive_protocol","observed_at":"2026-03-01T12:00:00Z","text":"ATA"}` + "\n" +
			`{"component":"disk:Z3","signal":"smart_197_raw","observed_at":"2026-03-01T12:00:00Z","value":24}` + "\n",
		"attrlog.ST4000DM000_1F2168-Z3.ata.csv": "2026-03-01 12:00:00;\t197;98;24;\n",
	}
	paths := []string{table}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		f := fleet()
		newRunner(t, f).do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", path).expect(t, 0, path+": 3 readings")
		got := f.asked[0].(*managerv1.ImportReadingsRequest).Readings
		if len(got) != 3 || got[0].Text != model || got[1].Text != "ATA" || *got[2].Value != 24 || got[2].Signal != "smart_197_raw" ||
			got[2].Component != "disk:Z3" || !got[2].ObservedAt.AsTime().Equal(at) {
			t.Errorf("%s: %v", path, got)
		}
	}
	f := fleet()
	newRunner(t, f).do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", "--last-day", "2026-04-01", table).expect(t, 0)
	if got := f.asked[0].(*managerv1.ImportReadingsRequest).Readings[2].ObservedAt.AsTime(); !got.Equal(at.AddDate(0, 1, 0)) {
		t.Errorf("shifted to %v", got)
	}
	whole, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.parquet")
	for n := range len(whole) { // however it is damaged, it is said
		damaged := append([]byte(nil), whole...)
		damaged[n] ^= 0x55
		for _, b := range [][]byte{whole[:n], damaged} {
			if n%37 != 0 {
				continue
			}
			if err := os.WriteFile(cut, b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, _ = readParquet(cut, "h1") // may or may not notice; it returns
		}
	}
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, fleet())
	r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", cut).expect(t, 2, "cut.parquet")
	r.do(t.Context(), "pfa", "import", "--as-readings", "--host", "h1", filepath.Join(dir, "attrlog.X-Y.scsi.csv")).expect(t, 2, "expected smartd's log of an ATA drive")
}
