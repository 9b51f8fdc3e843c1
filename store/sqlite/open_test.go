package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// open opens path and fails the test, or expects this error.
func open(t *testing.T, path string, want error) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path)
	if !errors.Is(err, want) {
		t.Fatalf("open: got %v, want %v", err, want)
	}
	if err != nil && !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("the error does not name the file: %v", err)
	}
	return db
}

func closeStore(t *testing.T, db *sqlite.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestSecondManagerIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vireo.db")
	first := open(t, path, nil)
	open(t, path, store.ErrLocked)
	link := filepath.Join(dir, "other-name.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), link); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("by another name: %v, want ErrLocked by this process", err)
	}

	// Without the lock file the second comes in, and fences the first.
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	second := open(t, path, nil)
	put := func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h", State: store.Healthy}) }
	called := false
	if err := first.Update(t.Context(), func(store.Tx) error { called = true; return nil }); !errors.Is(err, store.ErrFenced) || called {
		t.Errorf("update of the first: %v, called %v", err, called)
	}
	if _, err := first.NewGeneration(t.Context(), 0); !errors.Is(err, store.ErrFenced) {
		t.Errorf("new generation of the first: %v", err)
	}
	value := 1.0
	late := signal.Reading{Host: "h", Component: "cpu", Signal: "s", Value: &value, Status: signal.OK, ObservedAt: time.Unix(1, 0)}
	if _, err := first.Keep(t.Context(), []signal.Reading{late}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("reading kept by the first: %v", err)
	}
	if err := second.Update(t.Context(), put); err != nil {
		t.Errorf("update of the second: %v", err)
	}
	closeStore(t, first)
	closeStore(t, second)
}

// TestClosedIsNotLocked: a program that is being started at the moment of Close
// has the lock's file too, and must not keep the next manager out.
func TestClosedIsNotLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vireo.db")
	db := open(t, path, nil)
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, fd := range fds {
		if file, err := os.Readlink(fd); err != nil || file != path+".lock" {
			continue
		}
		n, err := strconv.Atoi(filepath.Base(fd))
		if err != nil {
			t.Fatal(err)
		}
		child, err := syscall.Dup(n) // what a fork does
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(child)
		copies++
	}
	if copies != 1 {
		t.Fatalf("found the lock's file open %d times, want 1", copies)
	}
	closeStore(t, db)
	closeStore(t, open(t, path, nil))
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%25.db")
	db := open(t, path, nil)
	defer closeStore(t, db)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
}

// raw changes a closed store behind its back.
func raw(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestRefusedFiles(t *testing.T) {
	t.Run("a newer schema", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		closeStore(t, open(t, path, nil))
		raw(t, path, "PRAGMA user_version = 9999")
		open(t, path, store.ErrNewer)
	})
	t.Run("another program's database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		raw(t, path, "CREATE TABLE bookmarks (url TEXT)")
		open(t, path, store.ErrInvalid)
	})
	t.Run("not a database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database. ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, path, store.ErrCorrupt)
	})
	t.Run("full of zeros", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, path, store.ErrCorrupt)
	})
	t.Run("damaged pages", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		db := open(t, path, nil)
		err := db.Update(t.Context(), func(tx store.Tx) error {
			for i := range 2000 {
				if err := tx.PutHost(store.Host{Name: fmt.Sprintf("host-%d", i), State: store.Healthy}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, db)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		middle := len(content) * 3 / 4
		for i := range 8192 {
			content[middle+i] ^= 0x5a
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, path, store.ErrCorrupt)
	})
	t.Run("a directory that is not there", func(t *testing.T) {
		open(t, filepath.Join(t.TempDir(), "none", "vireo.db"), os.ErrNotExist)
	})
	t.Run("and after all that an empty file is a new store", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "vireo.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		closeStore(t, open(t, path, nil))
	})
}

// writerPath is set in a process of this test binary that writes until it is
// killed.
const writerPath = "VIREO_TEST_WRITER_PATH"

// TestKilledWriter kills a writer with SIGKILL at several moments: everything it
// has said to be durable is there, in whole transactions.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv(writerPath); path != "" {
		writeForEver(path)
		return
	}
	path := filepath.Join(t.TempDir(), "vireo.db")
	for round := range 4 {
		acknowledged := runWriter(t, path, 20+30*round)
		db := open(t, path, nil)
		err := db.View(t.Context(), func(r store.Reader) error {
			c, err := r.Claim("d")
			if err != nil {
				return err
			}
			s, err := r.Setting("epoch")
			if c.Epoch < acknowledged || s.Value != fmt.Sprint(c.Epoch) {
				t.Errorf("round %d: claim at %d, setting %s, acknowledged %d", round, c.Epoch, s.Value, acknowledged)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		closeStore(t, db)
	}
}

// runWriter starts a writer, kills it after so many acknowledgements and
// returns the last one it gave.
func runWriter(t *testing.T, path string, acknowledgements int) uint64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), writerPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var epoch uint64
		if _, err := fmt.Sscanf(lines.Text(), "durable %d", &epoch); err == nil {
			last = epoch
		}
		if n == acknowledgements {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || last == 0 {
		t.Fatalf("the writer ended by itself (%v), last acknowledgement %d", err, last)
	}
	return last
}

func writeForEver(path string) {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, path)
	for err == nil {
		var epoch uint64
		err = db.Update(ctx, func(tx store.Tx) error {
			have, err := tx.Claim("d")
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if epoch, err = tx.NextEpoch(); err != nil {
				return err
			}
			next := store.Claim{Domain: "d", Holder: "h1", Phase: store.Held, Epoch: epoch}
			return errors.Join(tx.PutHost(store.Host{Name: "h1", State: store.Healthy}), tx.SwapClaim(have.Epoch, next),
				tx.PutSetting(store.Setting{Key: "epoch", Value: fmt.Sprint(epoch)}))
		})
		if err == nil {
			fmt.Println("durable", epoch)
		}
	}
	fmt.Println(err)
}

// TestDiskFull fills a small file system: writes are refused as ErrFull, reads go
// on, nothing acknowledged is lost, and with room again writes go on too.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("a small file system to fill, run the tests as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path := filepath.Join(dir, "vireo.db")
	db := open(t, path, nil)
	acknowledged := 0
	put := func(n int) error {
		return db.Update(t.Context(), func(tx store.Tx) error {
			epoch, err := tx.NextEpoch()
			if err != nil {
				return err
			}
			h := store.Host{Name: fmt.Sprintf("h%d", n), State: store.Healthy, StateReason: strings.Repeat("x", 3000)}
			c := store.Claim{Domain: fmt.Sprintf("d%d", n), Holder: h.Name, Phase: store.Held, Epoch: epoch}
			return errors.Join(tx.PutHost(h), tx.SwapClaim(0, c))
		})
	}
	check := func(db *sqlite.DB, when string) {
		t.Helper()
		err := db.View(t.Context(), func(r store.Reader) error {
			hosts, err1 := r.Hosts()
			claims, err2 := r.Claims(store.ClaimFilter{})
			if len(hosts) != acknowledged || len(claims) != acknowledged {
				t.Errorf("%s: %d hosts, %d claims, %d were acknowledged", when, len(hosts), len(claims), acknowledged)
			}
			return errors.Join(err1, err2)
		})
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	var err error
	for err == nil && acknowledged < 5000 {
		if err = put(acknowledged); err == nil {
			acknowledged++
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("after %d updates: %v, want ErrFull", acknowledged, err)
	}
	check(db, "full")
	for range 3 { // and again, whatever statement is the one that meets it
		if err := put(acknowledged); !errors.Is(err, store.ErrFull) {
			t.Errorf("still full: %v", err)
		}
	}
	value := 1.0
	batch := make([]signal.Reading, 5000)
	for i := range batch {
		batch[i] = signal.Reading{Host: "h", Component: "cpu", Signal: "s", Value: &value, Status: signal.OK, ObservedAt: time.Unix(int64(i), 1)}
	}
	if kept, err := db.Keep(t.Context(), batch); !errors.Is(err, store.ErrFull) || kept != 0 {
		t.Errorf("kept %d readings, %v, want ErrFull", kept, err)
	}
	closeStore(t, db)

	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	db = open(t, path, nil)
	check(db, "with room, reopened")
	for range 10 {
		if err := put(acknowledged); err != nil {
			t.Fatalf("with room: %v", err)
		}
		acknowledged++
	}
	check(db, "after more")

	// Once more without closing in between.
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	filler, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		if err = put(acknowledged); err == nil {
			acknowledged++
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("full again: %v", err)
	}
	check(db, "full again")
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	if err := put(acknowledged); err != nil {
		t.Errorf("with room again: %v", err)
	} else {
		acknowledged++
	}
	check(db, "with room again")
	closeStore(t, db)
}
