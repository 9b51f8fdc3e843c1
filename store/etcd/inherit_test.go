package etcd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// TestSucceeds: what a process that was killed has left of its lease keeps nobody
// waiting once the next process of that manager is there; what else lies in the
// file is no harm.
func TestSucceeds(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	for _, tt := range []struct {
		name     string
		succeeds bool
		file     string // written over the remembered lease, if not ""
		waits    bool
	}{
		{"the next process", true, "", false},
		{"another one", false, "", true},
		{"the file is cut", true, "\n", true},
		{"the file is of another lease", true, "7f\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			memory := filepath.Join(t.TempDir(), "etcd.json")
			proxy := etcdtest.NewProxy(t, cluster.Nodes()[0].Address())
			o := etcd.Options{Endpoints: []string{proxy.Endpoint()}, Memory: memory, Succeeds: true, Prefix: "/" + tt.name + "/",
				Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			}
			killed := mustOpen(t, o)
			proxy.Partition(true) // as if it had been killed: it can give nothing away
			if tt.file != "" {
				if err := os.WriteFile(memory+".lease", []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.Endpoints, o.Succeeds = cluster.Endpoints(), tt.succeeds
			begun := time.Now()
			next := mustOpen(t, o)
			took := time.Since(begun)
			t.Logf("leads after %v", took)
			// A lease of 3 s was renewed 0.5 s before at the earliest, and etcd looks twice a second.
			if waited := took > 2*time.Second; waited != tt.waits {
				t.Errorf("the next leads after %v", took)
			}
			if next.Identity().Term != killed.Identity().Term+1 {
				t.Errorf("term %d after %d", next.Identity().Term, killed.Identity().Term)
			}
		})
	}
}
