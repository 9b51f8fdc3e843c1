package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
)

// ownStore is what a manager has kept of two hosts: drive Z300V1RR dies in h1 on
// lastDay, Z300V63Y is healthy in h2. The model's word of every tenth day is
// kept, too.
func ownStore(t *testing.T, lastDay time.Time) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vireo.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	m, err := pfa.Default()
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutHost(store.Host{Name: "h1", State: store.Healthy, Facts: store.Facts{Dependencies: []store.Dependency{{Component: "disk:Z300V1RR", Kind: "root", Name: "/"}}}}); err != nil {
			return err
		}
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		return tx.SwapClaim(0, store.Claim{Domain: "d1", Name: "g1", Holder: "h1", Epoch: epoch, Phase: store.Held, MemoryKiB: 4 << 20})
	})
	if err != nil {
		t.Fatal(err)
	}
	for host, serial := range map[string]string{"h1": "Z300V1RR", "h2": "Z300V63Y"} {
		record, err := readRecorded(filepath.Join("..", "..", "test", "testdata", "drives", serial+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		readings := record.Readings(host, lastDay)
		if _, err := db.Keep(t.Context(), readings); err != nil {
			t.Fatal(err)
		}
		s := pfa.NewState(signal.DiskComponent(serial))
		var risks []store.ComponentRisk
		for i, r := range readings {
			s.Observe(r)
			last := i+1 == len(readings) || !readings[i+1].ObservedAt.Equal(r.ObservedAt)
			if !last || int(r.ObservedAt.Sub(readings[0].ObservedAt).Hours()/24)%10 != 0 {
				continue
			}
			v := m.Score(s, r.ObservedAt)
			risks = append(risks, store.ComponentRisk{Host: host, Component: r.Component, Model: v.Model,
				Score: store.Risk{P30d: v.Risk.Month.Percent, At: r.ObservedAt}, Reasons: []store.Reason{{Text: v.Top(1)[0].Text}}})
		}
		if err := db.PutRisks(t.Context(), risks); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestLedgerAndBacktest(t *testing.T) {
	r := newRunner(t, fleet())
	died := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	db := ownStore(t, died)
	do := func(line string, args ...string) result {
		t.Helper()
		return r.do(t.Context(), append(strings.Fields("pfa "+line), args...)...)
	}
	// Before anybody has said what became of it, a silent drive that warned is unknown.
	do("ledger show --store "+db).expect(t, 0, "mitigated-unknown", "disk:Z300V1RR", "0 hits, 0 false alarms, 0 missed, 1 mitigated-unknown, 0 open")
	do("ledger mark disk:Z300V1RR --outcome failed --at 2026-08-02 --store "+db, "--note", "clicks, then nothing").expect(t, 0)
	do("ledger show --store "+db).expect(t, 0, "hit ", "1 hit, 0 false alarms, 0 missed, 0 mitigated-unknown", "100 % were hits")
	do("ledger show --json --threshold 99 --store "+db).expect(t, 0, `"verdict": "missed"`, `"note": "clicks, then nothing"`)
	do("ledger check --store "+db).expect(t, 0, "FAMILY", "ST4000DM000", "in windows of 30 days")

	got := do("backtest --store " + db)
	got.expect(t, 0, "→ evacuate", "failed ", "days later", "1 guest of 4.0 GiB would have been moved; 1 of 1 marked failure came after", "0 moves for nothing")
	if strings.Contains(got.out, "h2") {
		t.Errorf("the healthy drive's host changes its level:\n%s", got.out)
	}
	do("backtest --evacuate 99/98 --store "+db).expect(t, 0, "0 guests of 0.0 GiB", "0 of 1 marked failure")
	do("backtest --json --store "+db).expect(t, 0, `"failures_ahead": 1`, `"memory_kib": 4194304`)

	do("drift --store "+db).expect(t, 0, "30-day risk", "2 drives, ")
	// The store's history is one that can be trained on, if it had more failures.
	do("train --store "+db+" --out "+filepath.Join(t.TempDir(), "m.vpfa")).expect(t, 2, "2 drives read")

	for line, want := range map[string]string{
		"ledger mark disk:A --outcome gone":                         `outcome is "gone", expected failed, replaced or healthy`,
		"ledger mark A --outcome failed":                            `component is "A", expected KIND:NAME`,
		"ledger mark disk:A --outcome failed --at tomorrow":         `--at "tomorrow": expected a day`,
		"ledger mark disk:A --outcome failed --at 2030-01-01":       "expected a time before it was marked",
		"ledger mark --outcome failed":                              "expected COMPONENT",
		"ledger show --threshold 0":                                 "--threshold 0: expected",
		"ledger show --store /no/such.db":                           "/no/such.db",
		"backtest --watch 1/2":                                      "--watch 1/2: expected ENTER/LEAVE",
		"backtest --watch 30/20":                                    "expected them to rise",
		"train --out x --store a --data b":                          "expected either --kind disk",
		"ledger check --model " + write(t, "x.vpfa", "not a model"): "not a vireo model file",
	} {
		do(line).expect(t, 2, want)
	}
	broken := write(t, "ledger.ndjson", `{"component":"disk:A","outcome":"failed"`)
	do("ledger mark disk:A --outcome failed --ledger "+broken).expect(t, 2, "its last line is not finished")
	if b, err := os.ReadFile(broken); err != nil || strings.Contains(string(b), "\n") {
		t.Errorf("%q, %v", b, err)
	}
}
