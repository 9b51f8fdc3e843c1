package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// held gives h1 the claims of n domains more.
func held(t *testing.T, db *sqlite.DB, from, n int) {
	t.Helper()
	err := db.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutHost(store.Host{Name: "h1", State: store.Healthy, Heard: 1}); err != nil {
			return err
		}
		for i := range n {
			epoch, err := tx.NextEpoch()
			if err != nil {
				return err
			}
			c := store.Claim{Domain: fmt.Sprintf("d%d", from+i), Holder: "h1", Phase: store.Held, Epoch: epoch}
			if err := tx.SwapClaim(0, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func claims(t *testing.T, db *sqlite.DB) (n int) {
	t.Helper()
	if err := db.View(t.Context(), func(r store.Reader) error {
		all, err := r.Claims(store.ClaimFilter{})
		n = len(all)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBackupAndRestore: a backup is one moment of a store that is being written;
// restoring it is a new generation, with epochs that were never given out, and
// keeps what it replaces.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "vireo.db"), filepath.Join(dir, "backup.db")
	db := open(t, path, nil)
	held(t, db, 0, 50)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // ten at a time: no backup holds a part of them
		for i := 0; ctx.Err() == nil; i++ {
			held(t, db, 1000+10*i, 10)
		}
	})
	facts, err := sqlite.Backup(t.Context(), path, copied)
	cancel()
	wg.Wait()
	if err != nil || facts.Claims < 50 || facts.Claims%10 != 0 || facts.Hosts != 1 {
		t.Fatalf("%+v, %v", facts, err)
	}
	if _, err := sqlite.Backup(t.Context(), path, copied); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an old backup: %v", err)
	}
	held(t, db, 900000, 7)
	was, total := db.Identity(), claims(t, db)
	var last uint64
	if err := db.View(t.Context(), func(r store.Reader) (err error) { last, err = r.LastEpoch(); return err }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := sqlite.Restore(t.Context(), copied, path, time.Unix(1e9, 0)); !errors.Is(err, store.ErrLocked) {
		t.Errorf("under a running manager: %v", err)
	}
	closeStore(t, db)

	restored, kept, err := sqlite.Restore(t.Context(), copied, path, time.Unix(1e9, 0))
	if err != nil || restored.Generation != was.Generation+1 || restored.Claims != facts.Claims {
		t.Fatalf("%+v, %s, %v", restored, kept, err)
	}
	db = open(t, path, nil)
	if got := claims(t, db); got != facts.Claims {
		t.Errorf("%d claims, %d were backed up", got, facts.Claims)
	}
	if id := db.Identity(); id.Generation != was.Generation+1 {
		t.Errorf("identity %+v after %+v", id, was)
	}
	err = db.Update(t.Context(), func(tx store.Tx) error {
		h, err := tx.Host("h1")
		if h.Heard >= db.Identity().Generation {
			t.Error("h1 counts as heard in the new generation")
		}
		epoch, err2 := tx.NextEpoch()
		if epoch <= last {
			t.Errorf("epoch %d was given out before, the last was %d", epoch, last)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Error(err)
	}
	closeStore(t, db)

	// What was replaced is there, whole.
	again, _, err := sqlite.Restore(t.Context(), kept, path, time.Unix(1e9+1, 0))
	if err != nil || again.Claims != total || again.Generation != was.Generation+2 {
		t.Errorf("restored what was kept: %+v, %v, want %d claims", again, err, total)
	}
}

// TestCopies: a copy of a store, and a backup, are refused by name of the reason;
// what is damaged or newer is not restored, and what stands stays.
func TestCopies(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "vireo.db"), filepath.Join(dir, "copy.db")
	db := open(t, path, nil)
	held(t, db, 0, 3000)
	closeStore(t, db)
	closeStore(t, open(t, path, nil)) // at home
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(copied, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(content)
	if _, err := sqlite.Open(t.Context(), copied); !errors.Is(err, store.ErrCopy) || !strings.Contains(err.Error(), "vireo-manager restore") {
		t.Errorf("a copy was opened: %v", err)
	}
	for name, c := range map[string]struct {
		spoil func()
		want  error
	}{
		"cut in half":        {func() { write(content[:len(content)/2/4096*4096]) }, store.ErrCorrupt},
		"not there":          {func() { os.Remove(copied) }, fs.ErrNotExist},
		"of a newer vireo":   {func() { write(content); raw(t, copied, "PRAGMA user_version = 9999") }, store.ErrNewer},
		"of another program": {func() { os.Remove(copied); raw(t, copied, "CREATE TABLE bookmarks (url TEXT)") }, store.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c.spoil()
			if _, _, err := sqlite.Restore(t.Context(), copied, path, time.Unix(1e9, 0)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			db := open(t, path, nil)
			if n := claims(t, db); n != 3000 {
				t.Errorf("%d claims are left", n)
			}
			closeStore(t, db)
			left, err := filepath.Glob(filepath.Join(dir, ".*"))
			if len(left) != 0 || err != nil {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}
