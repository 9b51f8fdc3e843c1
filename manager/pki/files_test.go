package pki

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root writes belongs to the directory's owner, so that init can be run by root and the manager by its own user.
func TestFilesOfRootBelongToTheDirectorysOwner(t *testing.T) {
	dir := t.TempDir()
	const user, group = 12345, 12346
	if err := os.Chown(dir, user, group); err != nil {
		t.Fatalf("run the tests as root: %v", err)
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

// Another manager of the fleet gets certificates of the CA that was brought to it.
func TestInitWithTheFleetsCA(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	ca, err := Init(first, []string{"m1"}, "root", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{CACertFile, CAKeyFile} {
		text, err := os.ReadFile(filepath.Join(first, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(second, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Init(second, []string{"m2"}, "root", now)
	if err != nil || got.SHA256() != ca.SHA256() {
		t.Fatalf("beside the fleet's CA: %v", err)
	}
	_, own, err := Load(second)
	if err != nil || own.Leaf.VerifyHostname("m2") != nil {
		t.Errorf("its certificate: %v", err)
	}
	if _, err := Init(second, []string{"m2"}, "root", now); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if err := os.Remove(filepath.Join(second, CAKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(second, ManagerCertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(second, []string{"m2"}, "root", now); !errors.Is(err, ErrExists) {
		t.Errorf("without the CA's key: %v", err) // an agent's directory
	}
}
