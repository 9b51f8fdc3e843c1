package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/sqlite"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

func TestStoreMigrate(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "manager.toml")
	text := fmt.Sprintf("state_dir = %q\n[etcd]\nendpoints = [%q]\n", dir, etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "vireo.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.PutHost(store.Host{Name: "h1", State: store.Healthy}) }); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, fleet())
	do := func(code int, from, to string, texts ...string) {
		t.Helper()
		r.do(t.Context(), "store", "migrate", "--from", from, "--to", to, "--config", config).expect(t, code, texts...)
	}
	do(1, "sqlite", "etcd", "in use by another manager")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	do(0, "sqlite", "etcd", "moved from sqlite to etcd, and compared: 1 hosts", `set store = "etcd"`, "generation 2")
	do(1, "sqlite", "etcd", "its records moved before")
	do(0, "etcd", "sqlite", "moved from etcd to sqlite, and compared: 1 hosts", "generation 3")
	do(2, "sqlite", "sqlite", "expected the other one")
	do(2, "mysql", "etcd", "--from mysql: expected sqlite or etcd")
	renew := func(code int, texts ...string) {
		t.Helper()
		r.do(t.Context(), "store", "renew", "--config", config).expect(t, code, texts...)
	}
	renew(2, `store = "sqlite": expected "etcd"`)
	if err := os.WriteFile(config, []byte("store = \"etcd\"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	renew(0, "; start the managers")
	r.do(t.Context(), "store", "migrate", "--from", "sqlite", "--to", "etcd", "--config", "/nowhere").expect(t, 2, "/nowhere")
}
