package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// Facts are what a store's file says of itself.
type Facts struct {
	Generation, Term, Epoch uint64
	Hosts, Claims           int
	Step                    int // of the schema
}

// Backup writes a copy of the store at path, as it is at one moment, to a new
// file, while a manager may be working with it. The copy is checked before it
// gets its name; it is no store of its own until Restore.
func Backup(ctx context.Context, path, to string) (Facts, error) {
	f, err := backup(ctx, path, to)
	if err != nil {
		return Facts{}, fmt.Errorf("back up store %s to %s: %w", path, to, err)
	}
	return f, nil
}

func backup(ctx context.Context, path, to string) (_ Facts, err error) {
	if _, err := os.Stat(path); err != nil {
		return Facts{}, err
	}
	if _, err := os.Lstat(to); err == nil {
		return Facts{}, fmt.Errorf("%s: %w", to, fs.ErrExist)
	}
	part, err := reserve(to)
	if err != nil {
		return Facts{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(part)))
		}
	}()
	err = with(ctx, path, nil, func(s *session) error {
		if err := ours(s); err != nil {
			return err
		}
		_, err := s.conn.ExecContext(ctx, "VACUUM INTO ?", part)
		return translate(err)
	})
	if err != nil {
		return Facts{}, err
	}
	facts, err := examine(ctx, part)
	if err != nil {
		return Facts{}, err
	}
	if err := synced(part); err != nil {
		return Facts{}, err
	}
	// A link refuses to replace what somebody has put there meanwhile.
	if err := os.Link(part, to); err != nil {
		return Facts{}, err
	}
	return facts, errors.Join(os.Remove(part), syncedDir(filepath.Dir(to)))
}

// Restore makes the backup the store at path, in a new generation: higher than
// the backup's and than that of the store which it replaces, if that can still be
// read. What stood there is kept beside it, under the name that is returned, ""
// when there was nothing. No manager may have the store open.
func Restore(ctx context.Context, backup, path string, now time.Time) (facts Facts, kept string, err error) {
	facts, kept, err = restore(ctx, backup, path, now)
	if err != nil {
		return Facts{}, "", fmt.Errorf("restore store %s from %s: %w", path, backup, err)
	}
	return facts, kept, nil
}

func restore(ctx context.Context, backup, path string, now time.Time) (facts Facts, kept string, err error) {
	if path, err = realPath(path); err != nil {
		return facts, "", err
	}
	l, err := lockBeside(path)
	if err != nil {
		return facts, "", err
	}
	defer l.release()
	part, err := reserve(path)
	if err != nil {
		return facts, "", err
	}
	defer func() {
		if err != nil {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				err = errors.Join(err, ignoreMissing(os.Remove(part+suffix)))
			}
		}
	}()
	if err := copyFile(backup, part); err != nil {
		return facts, "", err
	}
	if _, err := examine(ctx, part); err != nil {
		return facts, "", err
	}
	seen := uint64(0)
	if _, err := os.Stat(path); err == nil {
		// A damaged store is a reason to restore, and says nothing.
		if old, err := examine(ctx, path); err == nil {
			seen = old.Generation
		}
	}
	if err := renew(ctx, part, seen); err != nil {
		return facts, "", err
	}
	if facts, err = examine(ctx, part); err != nil {
		return facts, "", err
	}
	if err := synced(part); err != nil {
		return facts, "", err
	}
	if kept, err = setAside(path, now); err != nil {
		return facts, "", err
	}
	if err := os.Rename(part, path); err != nil {
		return facts, kept, err
	}
	return facts, kept, syncedDir(filepath.Dir(path))
}

// renew begins a new generation in a file that no manager has opened: all that
// was promised by the old one is to be found out anew.
func renew(ctx context.Context, path string, seen uint64) error {
	all, err := steps(schemaFiles)
	if err != nil {
		return err
	}
	return with(ctx, path, nil, func(s *session) error {
		if err := upgrade(s, all); err != nil {
			return err
		}
		return s.transaction(func() error {
			_, err := s.exec("UPDATE meta SET generation = max(generation, ?) + 1, epoch = epoch + ?, instance = '', home = ''", seen, store.EpochLeap)
			return err
		})
	})
}

// setAside moves what stands at path, with its log, out of the way.
func setAside(path string, now time.Time) (string, error) {
	kept := path + ".before-" + now.UTC().Format("20060102T150405Z")
	moved := ""
	for _, suffix := range []string{"", "-wal", "-shm"} {
		switch err := os.Rename(path+suffix, kept+suffix); {
		case err == nil:
			moved = kept
		case !errors.Is(err, fs.ErrNotExist):
			return moved, err
		}
	}
	return moved, nil
}

// examine checks a whole file and says what it is.
func examine(ctx context.Context, path string) (f Facts, err error) {
	err = with(ctx, path, nil, func(s *session) error {
		if err := ours(s); err != nil {
			return err
		}
		if err := checkAll(s); err != nil {
			return err
		}
		for query, to := range map[string][]any{
			"SELECT generation, term, epoch FROM meta": {&f.Generation, &f.Term, &f.Epoch},
			"SELECT count(*) FROM hosts":               {&f.Hosts},
			"SELECT count(*) FROM claims":              {&f.Claims},
			"PRAGMA user_version":                      {&f.Step},
		} {
			if err := s.row(query, nil, to...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Facts{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// ours refuses what is no store of vireo, or of a newer vireo.
func ours(s *session) error {
	all, err := steps(schemaFiles)
	if err != nil {
		return err
	}
	var application, version int
	if err := s.row("PRAGMA application_id", nil, &application); err != nil {
		return err
	}
	if err := s.row("PRAGMA user_version", nil, &version); err != nil {
		return err
	}
	switch {
	case application != applicationID:
		return fmt.Errorf("not a store of vireo (application id %#x): %w", application, store.ErrInvalid)
	case version > len(all):
		return fmt.Errorf("schema step %d, this version knows %d: %w", version, len(all), store.ErrNewer)
	}
	return nil
}

// with lends one connection to a file, without a manager's lock.
func with(ctx context.Context, path string, more url.Values, f func(*session) error) (err error) {
	db := &DB{path: path}
	defer func() {
		for _, s := range db.sessions {
			err = errors.Join(err, s.close())
		}
		for _, pool := range db.pools {
			err = errors.Join(err, pool.Close())
		}
	}()
	sessions, err := db.connect(ctx, 1, more)
	if err != nil {
		return err
	}
	return f(sessions[0])
}

// reserve makes an empty file beside path, for its owner alone.
func reserve(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(owned(f), f.Close())
}

// owned gives a file that root has made to its directory's owner: the manager,
// which is not root, is to read it.
func owned(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	if st, ok := dir.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(st.Uid), int(st.Gid))
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func synced(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncedDir(dir string) error { return synced(dir) }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
