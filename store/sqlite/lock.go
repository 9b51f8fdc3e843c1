package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vireo-kvm/vireo/store"
)

// lock holds the file beside the database that keeps a second manager out. The
// kernel gives it back when the process ends, however it ends.
type lock struct{ f *os.File }

// lockBeside takes the lock for the database at path or returns ErrLocked with
// the process that has it.
func lockBeside(path string) (*lock, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if err := owned(f); err != nil { // vireo-manager restore is run by root
		defer f.Close()
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			holder, _ := io.ReadAll(io.LimitReader(f, 20))
			return nil, fmt.Errorf("%s is held by process %s: %w", name, strings.TrimSpace(string(holder)), store.ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// Who holds it is for people; the lock holds without, also on a full disk.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &lock{f}, nil
}

// release gives the lock back. Closing the file alone would not: a program that
// this process is just starting has every open file too, until it is executed.
func (l *lock) release() {
	_ = syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN)
	_ = l.f.Close()
}

// realPath follows symbolic links, so that two names of one file share a lock.
func realPath(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	full := filepath.Join(dir, filepath.Base(path))
	if real, err := filepath.EvalSymlinks(full); err == nil {
		full = real
	}
	return filepath.Abs(full)
}
