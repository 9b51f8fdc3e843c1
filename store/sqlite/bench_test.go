package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

func hostRecord(n int) store.Host {
	return store.Host{Name: fmt.Sprintf("h%d", n), State: store.Healthy, LastReport: time.Unix(int64(n), 0)}
}

// grant gives domain n to host n % hosts.
func grant(tx store.Tx, n, hosts int) (epoch uint64, err error) {
	if epoch, err = tx.NextEpoch(); err != nil {
		return 0, err
	}
	return epoch, tx.SwapClaim(0, store.Claim{Domain: fmt.Sprintf("%08x-0000-4000-8000-000000000000", n), Name: fmt.Sprintf("g%d", n),
		Holder: fmt.Sprintf("h%d", n%hosts), Epoch: epoch, Phase: store.Held, Since: time.Unix(1, 0), MemoryKiB: 1 << 20})
}

func update(b *testing.B, db *sqlite.DB, f func(tx store.Tx) error) {
	b.Helper()
	if err := db.Update(b.Context(), f); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkClaimSwap is one durable change of a claim: beside it, the same bytes
// written by a bare SQLite transaction on the same disk.
func BenchmarkClaimSwap(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		db := openTemp(b)
		var epoch uint64
		update(b, db, func(tx store.Tx) (err error) {
			if err := tx.PutHost(hostRecord(0)); err != nil {
				return err
			}
			epoch, err = grant(tx, 0, 1)
			return err
		})
		claim := store.Claim{Domain: "00000000-0000-4000-8000-000000000000", Name: "g0", Holder: "h0", Phase: store.Held,
			Since: time.Unix(1, 0), MemoryKiB: 1 << 20}
		for b.Loop() {
			update(b, db, func(tx store.Tx) (err error) {
				if claim.Epoch, err = tx.NextEpoch(); err != nil {
					return err
				}
				return tx.SwapClaim(epoch, claim)
			})
			epoch = claim.Epoch
		}
	})
	b.Run("bare", func(b *testing.B) {
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		exec := func(tx interface {
			Exec(string, ...any) (sql.Result, error)
		}, statement string, args ...any) {
			if _, err := tx.Exec(statement, args...); err != nil {
				b.Fatal(err)
			}
		}
		exec(db, "CREATE TABLE meta (epoch INTEGER); INSERT INTO meta VALUES (0);"+
			"CREATE TABLE claims (domain TEXT PRIMARY KEY, name TEXT, holder TEXT, epoch INTEGER, phase TEXT, since INTEGER, memory INTEGER) WITHOUT ROWID;"+
			"CREATE INDEX holder ON claims (holder);"+
			"INSERT INTO claims VALUES ('00000000-0000-4000-8000-000000000000', 'g0', 'h0', 0, 'held', 1, 1)")
		counter, err := db.Prepare("UPDATE meta SET epoch = ?")
		if err != nil {
			b.Fatal(err)
		}
		swap, err := db.Prepare("UPDATE claims SET name = 'g0', holder = 'h0', epoch = ?, phase = 'held', since = ?, memory = ? WHERE domain = ? AND epoch = ?")
		if err != nil {
			b.Fatal(err)
		}
		for n := 0; b.Loop(); n++ {
			tx, err := db.Begin()
			if err != nil {
				b.Fatal(err)
			}
			_, err1 := tx.Stmt(counter).Exec(n + 1)
			_, err2 := tx.Stmt(swap).Exec(n+1, n, 1<<20, "00000000-0000-4000-8000-000000000000", n)
			if err := errors.Join(err1, err2, tx.Commit()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGrants is one new claim, granted in batches of 1,000.
func BenchmarkGrants(b *testing.B) {
	db := openTemp(b)
	update(b, db, func(tx store.Tx) error { return tx.PutHost(hostRecord(0)) })
	n := 0
	for b.Loop() {
		update(b, db, func(tx store.Tx) error {
			for range 1000 {
				if _, err := grant(tx, n, 1); err != nil {
					return err
				}
				n++
			}
			return nil
		})
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "claims/s")
}

// BenchmarkKeep is what a minute of 1,000 hosts brings: 20 readings each.
func BenchmarkKeep(b *testing.B) {
	db := openTemp(b)
	batch := make([]signal.Reading, 20_000)
	minute, kept, value := 0, 0, 1.0
	for b.Loop() {
		minute++
		for i := range batch {
			batch[i] = signal.Reading{Host: fmt.Sprintf("h%d", i/20), Component: fmt.Sprintf("disk:%d", i/10%2), Signal: fmt.Sprintf("smart_%d_raw", i%10),
				Value: &value, Unit: "count", Status: signal.OK, BootID: "b", ObservedAt: time.Unix(int64(60*minute), 0)}
		}
		n, err := db.Keep(b.Context(), batch)
		if err != nil {
			b.Fatal(err)
		}
		kept += n
	}
	b.ReportMetric(float64(kept)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkRetain is retention that meets a backlog of 60,000 readings: a minute
// apart, as a host reports, and a day apart, as histories of drives are imported.
func BenchmarkRetain(b *testing.B) {
	for name, step := range map[string]time.Duration{"minutely": time.Minute, "daily": 24 * time.Hour} {
		b.Run(name, func(b *testing.B) {
			const readings, series = 60_000, 10
			value := 1.0
			batch := make([]signal.Reading, readings)
			for i := range batch {
				batch[i] = signal.Reading{Host: "h1", Component: "disk:A", Signal: fmt.Sprintf("smart_%d_raw", i%series), Value: &value,
					Unit: "count", Status: signal.OK, BootID: "b", ObservedAt: time.Unix(0, 0).Add(time.Duration(i/series) * step)}
			}
			for b.Loop() {
				b.StopTimer()
				db := openTemp(b)
				if _, err := db.Keep(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				done, err := db.Retain(b.Context(), time.Unix(0, 0).Add(readings*step), store.Retention{Raw: time.Second})
				if err != nil || done.Readings != readings-series {
					b.Fatalf("%+v, %v", done, err)
				}
			}
			b.ReportMetric(float64(readings*b.N)/b.Elapsed().Seconds(), "readings/s")
		})
	}
}

// BenchmarkStart opens a store of 10,000 hosts with 200,000 claims and reads
// them all.
func BenchmarkStart(b *testing.B) {
	const hosts, claims = 10_000, 200_000
	path := filepath.Join(b.TempDir(), "vireo.db")
	db, err := sqlite.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	update(b, db, func(tx store.Tx) error {
		for n := range hosts {
			if err := tx.PutHost(hostRecord(n)); err != nil {
				return err
			}
		}
		for n := range claims {
			if _, err := grant(tx, n, hosts); err != nil {
				return err
			}
		}
		return nil
	})
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		db, err := sqlite.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		err = db.View(b.Context(), func(r store.Reader) error {
			h, err1 := r.Hosts()
			c, err2 := r.Claims(store.ClaimFilter{})
			if len(h) != hosts || len(c) != claims {
				b.Errorf("read %d hosts and %d claims", len(h), len(c))
			}
			return errors.Join(err1, err2)
		})
		if err := errors.Join(err, db.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
