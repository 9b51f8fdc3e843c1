package pki

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root writes belongs to the directory's owner, so that init can be run by root and the manager by its own user.
func TestFilesOfRootBelongToTheDirectorysOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away; run the tests as root")
	}
	dir := t.TempDir()
	const user, group = 12345, 12346
	if err := os.Chown(dir, user, group); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, []string{"localhost"}, "admin", now); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 6 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != user || owner.Gid != group {
			t.Errorf("%s belongs to %d:%d, want %d:%d", entry.Name(), owner.Uid, owner.Gid, user, group)
		}
	}
}
