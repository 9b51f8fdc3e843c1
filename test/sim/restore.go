package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// backUp keeps a copy of the store as it is now.
func (s *Sim) backUp() {
	to := filepath.Join(s.opts.Dir, "backup")
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.fail("%v", err)
	}
	f, err := sqlite.Backup(context.Background(), s.house.path, to)
	if err != nil {
		s.fail("backing up: %v", err)
	}
	s.house.backup = to
	s.say("operator: backup of generation %d term %d epoch %d", f.Generation, f.Term, f.Epoch)
}

// restore ends the manager and starts another one over an old backup.
func (s *Sim) restore() {
	h := s.house
	if h.backup == "" {
		return
	}
	h.kill()
	f, kept, err := sqlite.Restore(context.Background(), h.backup, h.path, h.now())
	if err != nil {
		s.fail("restoring: %v", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(kept + suffix)
	}
	h.backup, s.restored = "", s.fleet.Now()
	h.generation = f.Generation // what the one before has ordered may still be on its way
	h.unheard = map[string]bool{}
	for _, st := range s.hosts {
		h.unheard[st.name] = true
	}
	for _, g := range s.guests { // of what has moved since, the store knows no definition and no autostart
		g.byHand = true
	}
	s.say("operator: restored, generation %d term %d epoch %d", f.Generation, f.Term, f.Epoch)
	h.ledger.reload(h.path)
	s.after(s.spread(200*time.Millisecond, 40*time.Second), "manager", h.start)
}

// inRecovery: something was written or ordered about a claim, and every host must
// have reported since the store was restored.
func (h *house) inRecovery(format string, args ...any) {
	if len(h.unheard) > 0 {
		h.s.fail("%s before %v has reported to the restored store", fmt.Sprintf(format, args...), sorted(h.unheard))
	}
}

// reload reads what a restored store knows; the epochs that were given out stay
// given out.
func (l *ledger) reload(path string) {
	db, err := sqlite.OpenReadOnly(context.Background(), path)
	if err != nil {
		l.s.fail("reading the restored store: %v", err)
	}
	defer db.Close()
	clear(l.claims)
	clear(l.rows)
	clear(l.owed)
	clear(l.running)
	err = db.View(context.Background(), func(r store.Reader) error {
		claims, err := r.Claims(store.ClaimFilter{})
		if err != nil {
			return err
		}
		for _, c := range claims {
			l.claims[c.Domain] = c
		}
		rows, err := r.Migrations(store.MigrationFilter{})
		if err != nil {
			return err
		}
		for _, m := range rows {
			l.rows[m.ID] = m
			if !m.State.Ended() && m.Epoch != 0 {
				l.running[m.Domain] = m.ID
			}
		}
		owed, err := r.Owed(store.OwedFilter{})
		for _, o := range owed {
			l.owed[owedName(o)] = o
		}
		return err
	})
	if err != nil {
		l.s.fail("reading the restored store: %v", err)
	}
	l.commits++
}
