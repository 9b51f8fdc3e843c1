package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.golden anew; read the diff before committing")

// TestGolden runs commands on a fleet and compares all they print.
func TestGolden(t *testing.T) {
	for name, line := range map[string]string{
		"hosts":             "hosts",
		"hosts_json":        "hosts --json",
		"host":              "host h1",
		"domains":           "domains",
		"domain":            "domain g1",
		"domains_host":      "domains --host h2",
		"domains_json":      "domains --json",
		"claims":            "claims",
		"claims_json":       "claims --json",
		"risk":              "risk",
		"risk_host":         "risk h1",
		"risk_json":         "risk h1 --json",
		"migrations":        "migrations",
		"migrations_open":   "migrations --open",
		"migrations_json":   "migrations --json",
		"decisions":         "decisions",
		"decisions_waiting": "decisions --waiting --json",
		"explain_host":      "explain host h1",
		"explain_domain":    "explain domain g1",
		"explain_migration": "explain migration m1",
		"explain_json":      "explain migration m1 --json",
		"events":            "events",
		"events_json":       "events --json",
		"status":            "status",
		"status_json":       "status --json",
		"plan":              "plan h1",
		"plan_json":         "plan h1 --json",
		"evacuate_dry_run":  "evacuate h1 --dry-run",
		"approve":           "decisions approve d2 --reason agreed",
		"reject":            "decisions reject d2 --reason no",
		"automation_off":    "automation off --reason window",
		"automation_on":     "automation on --reason over",
		"token":             "agents token --host h4 --valid 30m",
		"return":            "return h1 --reason repaired",
		"remove":            "hosts remove h3 --reason sold",
		"abort":             "migrations abort m2",
		"claims_grant":      "claims grant g9 --to h2 --reason planned --force",
		"claims_grant_json": "claims grant g9 --to h2 --reason planned --json",
		"claims_release":    "claims release g1 --reason gone",
		"claims_dropped":    "claims release g1 --reason gone --force",
		"claims_move":       "claims move g1 --to h2 --reason balance",
		"claims_resolve":    "claims resolve g1 --holder h2 --reason seen",
		"claims_resume":     "claims resolve g1 --resume --reason power",
		"claims_nobody":     "claims resolve g1 --released --reason power",
		"declare_dead":      "hosts declare-dead h3 --reason burnt",
		"excuse":            "hosts excuse h3 --reason burnt",
		"maintenance":       "hosts maintenance h2 --reason memory",
		"prefer":            "hosts prefer h2 --target h3",
		"leftovers":         "leftovers",
		"leftovers_json":    "leftovers --json",
		"revoke":            "operators revoke alice --reason left",
		"help_resolve":      "claims resolve --help",
		"help":              "--help",
		"help_evacuate":     "evacuate --help",
		"help_virsh":        "virsh --help",
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, newRunner(t, fleet()), line) })
		if name == "hosts" || name == "explain_host" || name == "migrations" {
			t.Run(name+"_terminal", func(t *testing.T) {
				r := newRunner(t, fleet())
				r.shows = true
				golden(t, name+"_terminal", r, line)
			})
			t.Run(name+"_no_color", func(t *testing.T) { // the same as without a terminal
				r := newRunner(t, fleet())
				r.shows = true
				r.screen = func() (int, int) { return 200, 30 }
				r.getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
				golden(t, name, r, line)
			})
		}
	}
	for name, line := range map[string]string{"hosts_none": "hosts", "domains_none": "domains", "claims_none": "claims", "risk_none": "risk",
		"migrations_none": "migrations", "decisions_none": "decisions", "events_none": "events"} {
		t.Run(name, func(t *testing.T) { golden(t, name, newRunner(t, &fakeManager{}), line) })
	}
}

func golden(t *testing.T, name string, r *runner, line string) {
	t.Helper()
	res := r.do(t.Context(), strings.Fields(line)...)
	got := fmt.Sprintf("$ vireo %s\n%s-- err --\n%s-- exit %d --\n", line, res.out, res.err, res.code)
	path := filepath.Join("testdata", name+".golden")
	if *rewrite && !strings.HasSuffix(t.Name(), "_no_color") {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -rewrite writes it anew):\n got:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestUnscoredIsNoZero: a 0 % that nobody computed would be a lie.
func TestUnscoredIsNoZero(t *testing.T) {
	f := fleet()
	nobody := &managerv1.Score{At: before(time.Minute)}
	f.hosts[1].Risk = nobody
	f.components = []*managerv1.ComponentRisk{{Host: "h2", Component: "collector:smart", Score: nobody, Impact: "what it reads is missing",
		Reasons: []*managerv1.Reason{{Signal: "collector_ok", Text: "the collector fails: smartctl: timeout"}}}}
	for _, line := range [][]string{{"hosts"}, {"host", "h2"}, {"risk"}, {"risk", "h2"}} {
		got := newRunner(t, f).do(t.Context(), line...)
		if strings.Contains(got.out, " 0 %") || strings.Contains(got.out, "–") {
			t.Errorf("%v shows a probability:\n%s", line, got.out)
		}
		if line[0] == "risk" {
			got.expect(t, 0, "smartctl: timeout")
		}
	}
}

// TestRecoveryIsShown: who waits for a restored store learns what it waits for.
func TestRecoveryIsShown(t *testing.T) {
	f := fleet()
	f.hosts[1].Heard = false
	newRunner(t, f).do(t.Context(), "hosts").expect(t, 0, "before h2 has reported, or was excused (vireo hosts excuse)")
}
