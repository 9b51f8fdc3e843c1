package etcd_test

import (
	"context"
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
				TTL: time.Minute, // longer than a busy machine needs for anything here
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
			limit := 30 * time.Second
			if tt.waits {
				limit = 3 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			next, err := etcd.Open(ctx, o)
			if tt.waits {
				if err == nil {
					next.Close()
					t.Error("the next leads while the lease of the one before stands")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			if next.Identity().Term != killed.Identity().Term+1 {
				t.Errorf("term %d after %d", next.Identity().Term, killed.Identity().Term)
			}
		})
	}
}
