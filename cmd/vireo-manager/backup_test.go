package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// TestBackupAndRestoreCommands: a backup of a store that is open, restored once
// nobody has it open any more.
func TestBackupAndRestoreCommands(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "backup.db")
	db, err := sqlite.Open(t.Context(), s.cfg.Database())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h1", State: store.Healthy, Heard: 1}) })
	if err != nil {
		t.Fatal(err)
	}
	expect := func(code int, says string, args ...string) {
		t.Helper()
		if got, out := command(append(args, "--config", s.config, file)...); got != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit %d, want %d: %s", args, got, code, out)
		}
	}
	expect(0, "generation 1, epoch 0, 1 hosts, 0 claims", "backup")
	expect(4, "never replaces", "backup")
	expect(4, "stop the manager first", "restore")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	expect(0, "generation 2, ", "restore")
	kept, err := filepath.Glob(s.cfg.Database() + ".before-*")
	if err != nil || len(kept) == 0 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if info, err := os.Stat(s.cfg.Database()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
