package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// oldStore makes a file as a version that knew so many steps has left it, with
// data of its time.
func oldStore(t *testing.T, step int) string {
	t.Helper()
	all, err := steps(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("step%d.sql", step)))
	if err != nil {
		t.Fatalf("each step but the last has data of its time: %v", err)
	}
	path := filepath.Join(t.TempDir(), "vireo.db")
	err = with(t.Context(), path, nil, func(s *session) error {
		return errors.Join(upgrade(s, all[:step]), s.script(string(data)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUpgradeFromEachStep opens what every earlier version has left: nothing is
// lost, and the identity goes on where it was.
func TestUpgradeFromEachStep(t *testing.T) {
	all, err := steps(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; step < len(all); step++ {
		t.Run(all[step-1].name, func(t *testing.T) {
			db, err := Open(context.Background(), oldStore(t, step))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if id := db.Identity(); id.Generation != 3 || id.Term != 8 {
				t.Errorf("identity %+v", id)
			}
			err = db.View(t.Context(), func(r store.Reader) error {
				claim, err1 := r.Claim("dom1")
				h1, err2 := r.Host("h1")
				h2, err3 := r.Host("h2")
				last, err4 := r.LastEpoch()
				if claim.Holder != "h1" || claim.Epoch != 42 || claim.MemoryKiB != 131072 || last != 42 {
					t.Errorf("claim %+v, last epoch %d", claim, last)
				}
				if h1.Heard != 3 || !h1.Dead.IsZero() || h1.Risk.P30d != 26 || h1.Facts.MemoryKiB != 64<<20 {
					t.Errorf("h1 %+v", h1)
				}
				if step == 2 && (h2.Heard != 2 || h2.Dead.IsZero()) || step == 1 && h2.Heard != 3 {
					t.Errorf("h2 %+v", h2)
				}
				return errors.Join(err1, err2, err3, err4)
			})
			if err != nil {
				t.Error(err)
			}
			if step == 1 {
				checkStep1(t, db)
			}
		})
	}
}

func checkStep1(t *testing.T, db *DB) {
	err := db.View(t.Context(), func(r store.Reader) error {
		row, err1 := r.Migration("m-1")
		owed, err2 := r.Owed(store.OwedFilter{})
		d, err3 := r.Decision("d-1")
		events, err4 := r.Events(store.EventFilter{Host: "h1"})
		set, err5 := r.Setting(store.SettingAutomation)
		tokens, err6 := r.Tokens()
		domains, err7 := r.Domains(store.DomainFilter{Host: "h1"})
		if row.Epoch != 42 || len(row.Steps) != 1 || len(owed) != 1 || d.Kind != store.DecideEvacuate || string(d.Evidence) != "{}" || len(events) != 1 ||
			set.Value != "off" || len(tokens) != 1 || len(domains) != 1 {
			t.Errorf("row %+v, owed %v, decision %+v, events %v, setting %+v, tokens %v, domains %v", row, owed, d, events, set, tokens, domains)
		}
		return errors.Join(err1, err2, err3, err4, err5, err6, err7)
	})
	readings, err2 := db.Latest(t.Context(), "h1")
	if len(readings) != 1 || *readings[0].Value != 8 || !readings[0].ObservedAt.Equal(time.Unix(1.7e9, 0)) {
		t.Errorf("readings %v", readings)
	}
	if err := errors.Join(err, err2); err != nil {
		t.Error(err)
	}
}
