package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/manager/pki"
)

// TestRenew: a certificate with another name is used by the manager that runs, and
// hosts that know the CA trust it.
func TestRenew(t *testing.T) {
	s := newSite(t)
	s.start(t)
	ca, err := os.ReadFile(filepath.Join(s.cfg.PKIDir, pki.CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	reach := func(name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name}}
		conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "https://"))
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := reach("m.example"); err != nil {
		t.Fatal(err)
	}
	if err := reach("other.example"); err == nil {
		t.Fatal("reached under a name that it does not have")
	}
	code, out := command("renew", "--config", s.config, "--name", "other.example")
	if code != 0 || !strings.Contains(out, "m.example, ") || !strings.Contains(out, "other.example") {
		t.Fatalf("renew: %d %s", code, out)
	}
	for until := time.Now().Add(10 * refreshEvery); ; time.Sleep(100 * time.Millisecond) {
		err := reach("other.example")
		if err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the manager that runs does not use it: %v", err)
		}
	}
	if err := reach("m.example"); err != nil {
		t.Errorf("under the name of before: %v", err)
	}
}

func TestRenewBadInput(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.cfg.PKIDir, pki.ManagerCertFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"--name is empty":             {"--name", ""},
		`"a b" is neither a DNS name`: {"--name", "a b"},
		`unexpected argument "x"`:     {"x"},
	} {
		code, out := command(append([]string{"renew", "--config", s.config}, args...)...)
		if code != 2 || !strings.Contains(out, want) {
			t.Errorf("renew %q: %d %s", args, code, out)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("bad input has changed the certificate: %v", err)
	}
	if err := os.Remove(filepath.Join(s.cfg.PKIDir, pki.CACertFile)); err != nil {
		t.Fatal(err)
	}
	if code, out := command("renew", "--config", s.config); code == 0 || !strings.Contains(out, "vireo-manager init") {
		t.Errorf("without a CA: %d %s", code, out)
	}
}
