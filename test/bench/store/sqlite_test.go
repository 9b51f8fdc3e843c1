package store

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

const firstDomain = "00000000-0000-4000-8000-000000000000"

func domain(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }

// grant gives domain n to host n % hosts.
func grant(tx store.Tx, n, hosts int) (uint64, error) {
	epoch, err := tx.NextEpoch()
	if err != nil {
		return 0, err
	}
	return epoch, tx.SwapClaim(0, store.Claim{Domain: domain(n), Name: fmt.Sprintf("guest-%d", n), Holder: fmt.Sprintf("h%d", n%hosts), Epoch: epoch,
		Phase: store.Held, Seen: time.Unix(1, 0), Since: time.Unix(1, 0), GrantedBy: "adoption", MemoryKiB: 1 << 20})
}

// filled makes a store of so many hosts and claims and returns its path.
func filled(b *testing.B, hosts, claims int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "vireo.db")
	db := open(b, path)
	defer closed(b, db)
	for from := 0; from == 0 || from < claims; from += 10_000 {
		err := db.Update(b.Context(), func(tx store.Tx) error {
			for n := 0; from == 0 && n < hosts; n++ {
				h := store.Host{Name: fmt.Sprintf("h%d", n), State: store.Healthy, StateReason: "enrolled", Heard: 1, LastReport: time.Unix(int64(n), 0)}
				h.Facts = store.Facts{MemoryKiB: 1 << 30, CPUs: 64, Arch: "x86_64", PeerURI: "qemu+tls://" + h.Name + "/system", LibvirtVersion: "9.0.0"}
				if err := tx.PutHost(h); err != nil {
					return err
				}
			}
			for n := from; n < min(claims, from+10_000); n++ {
				if _, err := grant(tx, n, hosts); err != nil {
					return err
				}
				d := store.Domain{UUID: domain(n), Name: fmt.Sprintf("guest-%d", n), Host: fmt.Sprintf("h%d", n%hosts), State: "running", MemoryKiB: 1 << 20, VCPUs: 2, Persistent: true}
				if err := tx.PutDomain(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return path
}

func open(b *testing.B, path string) *sqlite.DB {
	b.Helper()
	db, err := sqlite.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	return db
}

func closed(b *testing.B, db *sqlite.DB) {
	b.Helper()
	if err := db.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkClaimSwap changes one claim durably, by turns through the store and by
// a bare transaction of SQLite that writes the same columns of the same schema in
// a file beside it: other work on the machine meets both. The ratio is of the
// medians.
func BenchmarkClaimSwap(b *testing.B) {
	db := open(b, filled(b, 1, 1))
	defer closed(b, db)
	bare := newBare(b, filled(b, 1, 1))
	swaps(b, db, 1, func(b *testing.B, _ store.Claim) { bare.swap(b) }, "%of-bare(≥80)")
}

// bare is SQLite without a store around it.
type bare struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	epoch int64
}

func newBare(b *testing.B, path string) *bare {
	b.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=true&_cache_size=-16000")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	x := &bare{conn: conn, stmts: map[string]*sql.Stmt{}, epoch: 1}
	b.Cleanup(func() { conn.Close() })
	return x
}

func (x *bare) exec(b *testing.B, statement string, args ...any) {
	st := x.stmts[statement]
	if st == nil {
		var err error
		if st, err = x.conn.PrepareContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
		x.stmts[statement] = st
	}
	if _, err := st.Exec(args...); err != nil {
		b.Fatal(err)
	}
}

func (x *bare) swap(b *testing.B) {
	x.exec(b, "BEGIN IMMEDIATE")
	x.exec(b, "UPDATE claims SET domain = ?, name = ?, holder = ?, epoch = ?, phase = ?, attempt = ?, target = ?, seen = ?, granted_by = ?, risk_at_grant = ?, since = ?, memory_kib = ? "+
		"WHERE domain = ? AND epoch = ?", firstDomain, "guest-0", "h0", x.epoch+1, "held", "", nil, 1_000_000_000, "adoption", 0.0, 1_000_000_000, 1<<20, firstDomain, x.epoch)
	x.exec(b, "UPDATE meta SET epoch = ?", x.epoch+1)
	x.exec(b, "COMMIT")
	x.epoch++
}

// BenchmarkGrants is new claims, granted in batches of 1,000.
func BenchmarkGrants(b *testing.B) {
	db := open(b, filled(b, 100, 0))
	defer closed(b, db)
	grants(b, db, 100, "claims/s(≥20000)")
}

// started is set in a process of this test binary that only starts a manager.
const started = "VIREO_BENCH_START"

// BenchmarkStart starts a manager, as vireo-manager does, on a store of 10,000
// hosts, 200,000 claims and as many domains, in a process of its own, whose peak
// of resident memory it reports.
func BenchmarkStart(b *testing.B) {
	if path := os.Getenv(started); path != "" {
		startManager(b, path)
		return
	}
	path := filled(b, 10_000, 200_000)
	var took []time.Duration
	peak := 0
	for b.Loop() {
		cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkStart$", "-test.benchtime=1x")
		cmd.Env = append(os.Environ(), started+"="+path)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		_, line, _ := strings.Cut(string(out), "started in ")
		var text string
		var kib int
		if _, err := fmt.Sscanf(line, "%s peak %d", &text, &kib); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			b.Fatal(err)
		}
		took, peak = append(took, d), max(peak, kib)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(took).Seconds(), "s/start(<3)")
	b.ReportMetric(float64(peak)/1024, "MiB(<300)")
}

// wall is the clock of a manager that only starts.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) Tick(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

func startManager(b *testing.B, path string) {
	began := time.Now()
	db := open(b, path)
	defer closed(b, db)
	ca, err := pki.NewCA(began)
	if err != nil {
		b.Fatal(err)
	}
	model, err := pfa.Default()
	if err != nil {
		b.Fatal(err)
	}
	m, err := manager.New(b.Context(), manager.Options{Store: db, Readings: db, Config: configs.DefaultManager(), Clock: wall{}, Issuer: ca,
		Scorer: manager.ModelScorer{Model: model}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	status, err := os.ReadFile("/proc/self/status")
	_, after, found := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err2 := fmt.Sscanf(after, "%d", &kib); errors.Join(err, err2) != nil || !found || m == nil {
		b.Fatal(err, err2)
	}
	fmt.Printf("started in %s peak %d\n", took, kib)
}
