package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/pfa"
)

// tlsOf trusts the site's CA.
func tlsOf(t *testing.T, s *site) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.cfg.PKIDir, pki.CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool}
}

func TestCommandLine(t *testing.T) {
	s := newSite(t)
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("mode = \"always\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.toml")
	if err := os.WriteFile(empty, []byte("pki_dir = \"/nonexistent/pki\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"init again":        {[]string{"init", "--config", s.config}, 4, []string{"there is a CA already"}},
		"config is good":    {[]string{"config", "check", "--config", s.config}, 0, []string{"good"}},
		"config is bad":     {[]string{"config", "check", "--config", bad}, 2, []string{bad, "mode", "always", "recommend"}},
		"run: config bad":   {[]string{"run", "--config", bad}, 2, []string{"always"}},
		"init: config bad":  {[]string{"init", "--config", bad}, 2, []string{"always"}},
		"config is missing": {[]string{"run", "--config", "/nonexistent/manager.toml"}, 2, []string{"/nonexistent/manager.toml"}},
		"no CA":             {[]string{"run", "--config", empty}, 1, []string{"vireo-manager init"}},
		"unknown flag":      {[]string{"run", "--nope"}, 2, []string{"nope"}},
		"unknown command":   {[]string{"fly"}, 2, []string{`no command "fly"; there are init, run, operator, renew, backup, restore and config`}},
		"unknown part":      {[]string{"config", "fly"}, 2, []string{`no command "fly"; there are check and default`}},
		"flags come last":   {[]string{"operator", "alice", "--role", "king"}, 2, []string{`--role "king"`}},
		"operator: no name": {[]string{"operator", "--config", s.config}, 2, []string{"give one name"}},
		"operator: role":    {[]string{"operator", "--config", s.config, "--role", "root", "alice"}, 2, []string{"root", "viewer"}},
		"operator: name":    {[]string{"operator", "--config", s.config, "a/b"}, 2, []string{"a/b"}},
		"backup: no file":   {[]string{"backup", "--config", s.config}, 2, []string{"give one file"}},
		"backup: no store":  {[]string{"backup", "--config", s.config, filepath.Join(t.TempDir(), "b")}, 1, []string{"vireo.db", "no such file"}},
		"restore: nothing":  {[]string{"restore", "--config", s.config, "/nonexistent/b"}, 2, []string{"/nonexistent/b"}},
		"restore: no store": {[]string{"restore", "--config", s.config, bad}, 2, []string{bad, "damaged"}},
		"defaults":          {[]string{"config", "default"}, 0, []string{"listen = "}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := command(c.args...)
			if code != c.code {
				t.Errorf("exit %d, want %d: %s", code, c.code, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q: %s", want, out)
				}
			}
		})
	}
}

func TestOperatorCertificate(t *testing.T) {
	s, out := newSite(t), t.TempDir()
	if code, text := command("operator", "--config", s.config, "--role", "operator", "--out", out, "alice"); code != 0 {
		t.Fatal(text)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, "operator-alice.crt"), filepath.Join(out, "operator-alice.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, actor, err := pki.Identify(pair.Leaf); err != nil || actor.Name != "alice" || actor.Role != pki.Operator {
		t.Errorf("%v, %v", actor, err)
	}
}

func TestModelOfTheOperator(t *testing.T) {
	if m, err := loadModel(""); err != nil || m == nil {
		t.Errorf("without a file: %v", err)
	}
	own, err := pfa.Default()
	if err != nil {
		t.Fatal(err)
	}
	if own, err = own.Recalibrated(map[string]float64{"": 0.1}, "a test"); err != nil {
		t.Fatal(err)
	}
	file, err := own.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "own.vpfa")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := loadModel(path); err != nil || m.Name() != own.Name() {
		t.Errorf("%v, %v", m, err)
	}
	if err := os.WriteFile(path, file[:len(file)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "manager.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "model = %q\n%s", path, text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command("run", "--config", config); code != 2 || !strings.Contains(out, path) || !strings.Contains(out, "do not add up") {
		t.Errorf("a damaged model: exit %d, %s", code, out)
	}
}
