package pfa

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// readSharedHistory reads the training history.
func readSharedHistory(t testing.TB, dir string) map[string]*Drive {
	t.Helper()
	open := func(name string) *gzip.Reader {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	drives, err := ReadDrives("drives", open("hdd_history_drives_train.csv.gz"), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := ReadSegments("segments", open("hdd_history_segments_train.csv.gz"), drives); err != nil {
		t.Fatal(err)
	}
	out := map[string]*Drive{}
	for i := range drives {
		out[drives[i].Serial] = &drives[i]
	}
	return out
}
