package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
)

func TestClaimsLocal(t *testing.T) {
	raw, err := os.ReadFile(bootIDFile)
	if err != nil {
		t.Fatal(err)
	}
	boot := strings.TrimSpace(string(raw))
	domains := map[string]journal.Domain{
		"u1": {UUID: "u1", Name: "g1", Epoch: 41, Phase: journal.Held, Confirmed: true, Changed: noon.Add(-time.Minute)},
		"u2": {UUID: "u2", Name: "g2", Epoch: 42, Phase: journal.Transferring, Changed: noon.Add(-time.Hour), Attempt: &journal.Attempt{
			ID: "a1", Role: journal.Source, Stage: journal.Started, Departure: &journal.Departure{Target: "h2", Call: journal.CallOut}}},
		"u3": {UUID: "u3", Name: "g3", Owed: noon},
		"u4": {UUID: "u4", Name: "g4", Epoch: 7, Phase: journal.Held, Confirmed: true, Starts: []journal.Start{{At: noon}}},
	}
	tests := []struct {
		name  string
		write func(path string) error
		code  int
		want  []string
	}{
		{"of this boot", func(path string) error {
			if err := journal.LeaveMark(path, journal.Mark{UUID: "u9", Name: "g9", At: noon.Add(-time.Minute), Refused: true}); err != nil {
				return err
			}
			return journal.Copy(path, journal.State{Host: journal.Host{BootID: boot, Name: "h1", Generation: 2, Term: 5, HookMode: "enforce"}, Domains: domains})
		}, 0, []string{
			"of h1: generation 2, term 5, hook enforce", "g1 held 41 yes - 60s u1", "g2 transferring 42 no, on its way a1 started as source 60m u2",
			"g3 - 0 when it is granted", "g4 held 7 is starting", "the hook refused to start g9 60s ago",
		}},
		{"of another boot", func(path string) error {
			return journal.Copy(path, journal.State{Host: journal.Host{BootID: "older", Name: "h1"}, Domains: domains})
		}, 0, []string{"nothing of it is permission: it is of another boot", "g1 - 41 no - 60s u1"}},
		{"damaged", func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o600) }, 0,
			[]string{"nothing of it is permission: journal", "full of zeros", "no domain is known"}},
		{"none", func(string) error { return nil }, 1, []string{"there is no journal of this boot"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "agent.toml")
			if err := os.WriteFile(config, fmt.Appendf(nil, "run_dir = %q\n", dir), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tt.write(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
			f := fleet()
			got := newRunner(t, f).do(t.Context(), "claims", "--local", "--agent-config", config)
			all := strings.Join(strings.Fields(got.out+got.err), " ")
			if got.code != tt.code {
				t.Errorf("exit code %d, want %d", got.code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not said:\n%s%s", want, got.out, got.err)
				}
			}
			if len(f.asked) > 0 {
				t.Errorf("the manager was asked %v", f.asked)
			}
			if tt.code == 0 {
				var l localClaims
				got := newRunner(t, f).do(t.Context(), "claims", "--local", "--json", "--agent-config", config)
				if err := json.Unmarshal([]byte(got.out), &l); err != nil || tt.name == "of this boot" && len(l.Domains) != len(domains) {
					t.Errorf("--json: %v\n%s", err, got.out)
				}
			}
		})
	}
	newRunner(t, fleet()).do(t.Context(), "claims", "--local", "--agent-config", "/nonexistent/agent.toml").expect(t, 2, "this machine has no agent")
}
