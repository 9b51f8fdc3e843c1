package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/wire/leader"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/manager/pki"
)

// configuredRunner is a program that finds the manager by itself, as operators'
// programs do, in this environment.
func configuredRunner(t *testing.T, environment map[string]string) *runner {
	t.Helper()
	r := newRunner(t, fleet())
	r.connect = nil
	r.getenv = func(name string) string { return environment[name] }
	return r
}

// secured is a directory with keys and a configuration in it for a manager at
// this address.
func secured(t *testing.T, manager string) (dir string, ca *pki.CA, own tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	if _, err := pki.Init(dir, []string{"localhost", "127.0.0.1"}, "admin", time.Now()); err != nil {
		t.Fatal(err)
	}
	ca, own, err := pki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	configure(t, dir, manager, "10s")
	return dir, ca, own
}

func configure(t *testing.T, dir, manager, timeout string) {
	t.Helper()
	text := fmt.Sprintf("manager = %q\nca = %q\ncert = %q\nkey = %q\ntimeout = %q\n", manager, filepath.Join(dir, pki.CACertFile),
		filepath.Join(dir, pki.AdminCertFile), filepath.Join(dir, pki.AdminKeyFile), timeout)
	if err := os.WriteFile(filepath.Join(dir, "cli.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMutualTLS(t *testing.T) {
	dir, ca, own := secured(t, "https://unset")
	var speaker, protocol string
	_, handler := managerv1connect.NewManagerServiceHandler(fleet())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if len(req.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, actor, err := pki.Identify(req.TLS.PeerCertificates[0])
		if err != nil || actor == nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		speaker, protocol = actor.Name, req.Proto
		handler.ServeHTTP(w, req)
	}))
	server.TLS = pki.ServerTLS(func() tls.Certificate { return own }, ca.Pool(), func(*x509.Certificate) bool { return false }, time.Now)
	server.TLS.Certificates = []tls.Certificate{own} // httptest adds its own otherwise
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	configure(t, dir, server.URL, "10s")
	file := filepath.Join(dir, "cli.toml")

	r := configuredRunner(t, map[string]string{"VIREO_CONFIG": file})
	r.do(t.Context(), "status").expect(t, 0, server.URL+" (from "+file+")")
	if speaker != "admin" || protocol != "HTTP/2.0" {
		t.Errorf("%q spoke %s", speaker, protocol)
	}

	// The user's own configuration, where there is one.
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".config", "vireo"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".config", configs.CLIUserPath), text, 0o600); err != nil {
		t.Fatal(err)
	}
	configuredRunner(t, map[string]string{"HOME": home}).do(t.Context(), "hosts").expect(t, 0, "h1")
	configuredRunner(t, map[string]string{"XDG_CONFIG_HOME": filepath.Join(home, ".config"), "HOME": "/nowhere"}).do(t.Context(), "hosts").expect(t, 0, "h1")

	// Another CA than the manager's: that is no manager of ours.
	other, _, _ := secured(t, server.URL)
	configuredRunner(t, map[string]string{"VIREO_CONFIG": filepath.Join(other, "cli.toml")}).do(t.Context(), "hosts").
		expect(t, 3, "cannot reach the manager at "+server.URL, "certificate")

	// A proxy or a guard that answers for the manager.
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the certificate has been revoked", http.StatusForbidden)
	})
	configuredRunner(t, map[string]string{"VIREO_CONFIG": file}).do(t.Context(), "hosts").expect(t, 4, "refused")
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "manager.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_, handler := managerv1connect.NewManagerServiceHandler(fleet())
	server := httptest.NewUnstartedServer(handler)
	server.Listener = listener
	server.Start()
	defer server.Close()
	r := configuredRunner(t, map[string]string{"VIREO_MANAGER": "unix://" + path})
	r.do(t.Context(), "status").expect(t, 0, "unix://"+path+" (from VIREO_MANAGER)")
	r.do(t.Context(), "events").expect(t, 0, "g9 runs twice")

	// Root on the manager's machine needs no configuration.
	empty := filepath.Join(t.TempDir(), "cli.toml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r = configuredRunner(t, map[string]string{"VIREO_CONFIG": empty})
	r.root, r.socket = true, path
	r.do(t.Context(), "status").expect(t, 0, "unix://"+path+" (from the manager's socket on this machine)")
	r = configuredRunner(t, map[string]string{"VIREO_CONFIG": empty, "VIREO_MANAGER": "https://127.0.0.1:1"}) // but what is asked for wins
	r.root, r.socket = true, path
	r.do(t.Context(), "status").expect(t, 3, "https://127.0.0.1:1 (from VIREO_MANAGER)")
}

func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "https://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	dir, _, _ := secured(t, "https://manager.example:7443")
	file := filepath.Join(dir, "cli.toml")
	for _, line := range []string{"hosts", "events", "evacuate h1", "virsh list"} {
		r := configuredRunner(t, map[string]string{"VIREO_CONFIG": file, "VIREO_MANAGER": address})
		r.do(t.Context(), strings.Fields(line)...).expect(t, 3, "cannot reach the manager at "+address+" (from VIREO_MANAGER): ", "connection refused",
			"Set VIREO_MANAGER=https://HOST:7443, or manager in cli.toml (VIREO_CONFIG, ~/.config/vireo/cli.toml, /etc/vireo/cli.toml).")
	}

	// Without keys, too.
	keyless := filepath.Join(t.TempDir(), "cli.toml")
	if err := os.WriteFile(keyless, []byte("ca = \"/nowhere/ca.crt\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	configuredRunner(t, map[string]string{"VIREO_MANAGER": address, "VIREO_CONFIG": keyless}).do(t.Context(), "hosts").
		expect(t, 3, "cannot reach the manager at "+address, "Set VIREO_MANAGER=", "ca.crt")

	// Somebody listens and never answers.
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	configure(t, dir, "https://"+deaf.Addr().String(), "200ms")
	configuredRunner(t, map[string]string{"VIREO_CONFIG": file}).do(t.Context(), "hosts").
		expect(t, 3, "cannot reach the manager at https://"+deaf.Addr().String()+" (from "+file+")")
}

func TestBadConfiguration(t *testing.T) {
	dir, _, _ := secured(t, "https://manager.example:7443")
	file := filepath.Join(dir, "cli.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(environment map[string]string, texts ...string) {
		t.Helper()
		configuredRunner(t, environment).do(t.Context(), "hosts").expect(t, 2, texts...)
	}
	here := map[string]string{"VIREO_CONFIG": file}
	run(map[string]string{"VIREO_CONFIG": "/nowhere/cli.toml"}, "VIREO_CONFIG", "/nowhere/cli.toml")
	run(map[string]string{"VIREO_CONFIG": file, "VIREO_MANAGER": "manager:7443"}, "VIREO_MANAGER", "manager:7443", "https://")
	write("manger = \"https://h\"\n")
	run(here, "cli.toml: manger = \"https://h\": no such key")
	write("timeout = \"soon\"\n")
	run(here, "timeout", "soon")

	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	here["VIREO_MANAGER"] = "https://" + listening.Addr().String()
	write("ca = \"/nowhere/ca.crt\"\n")
	run(here, "ca in cli.toml", "/nowhere/ca.crt")
	write(fmt.Sprintf("ca = %q\n", file))
	run(here, "holds no certificate")
	write(fmt.Sprintf("ca = %q\ncert = \"/nowhere/me.crt\"\n", filepath.Join(dir, pki.CACertFile)))
	run(here, "cert and key in cli.toml", "/nowhere/me.crt")
}

// The keys that vireo-manager init makes are the ones looked for by default.
func TestDefaultKeysAreThoseOfInit(t *testing.T) {
	cfg := configs.DefaultCLI()
	for _, path := range []struct{ got, want string }{{cfg.CA, pki.CACertFile}, {cfg.Cert, pki.AdminCertFile}, {cfg.Key, pki.AdminKeyFile}} {
		if filepath.Base(path.got) != path.want || filepath.Dir(path.got) != configs.DefaultManager().PKIDir {
			t.Errorf("the default is %s, init makes %s in %s", path.got, path.want, configs.DefaultManager().PKIDir)
		}
	}
}

// Of several managers the one that leads is asked, whoever is asked first.
func TestSeveralManagers(t *testing.T) {
	dir, ca, own := secured(t, "https://unset")
	start := func(handler http.Handler) string {
		server := httptest.NewUnstartedServer(handler)
		server.TLS = pki.ServerTLS(func() tls.Certificate { return own }, ca.Pool(), func(*x509.Certificate) bool { return false }, time.Now)
		server.TLS.Certificates = []tls.Certificate{own} // httptest adds its own otherwise
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
	_, handler := managerv1connect.NewManagerServiceHandler(fleet())
	leads := start(handler)
	follower := func(named string) string {
		return start(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			err := connect.NewError(connect.CodeUnavailable, errors.New("this manager does not lead"))
			err.Meta().Set(leader.Header, named)
			_ = connect.NewErrorWriter().Write(w, req, err)
		}))
	}
	env := func(managers ...string) map[string]string {
		return map[string]string{"VIREO_CONFIG": filepath.Join(dir, "cli.toml"), "VIREO_MANAGER": strings.Join(managers, ",")}
	}
	configuredRunner(t, env(follower(leads), "https://127.0.0.1:1")).do(t.Context(), "hosts").expect(t, 0, "h1")
	configuredRunner(t, env("https://127.0.0.1:1", follower(""), leads)).do(t.Context(), "hosts").expect(t, 0, "h1")
	configuredRunner(t, env("https://127.0.0.1:1", "https://127.0.0.1:2")).do(t.Context(), "hosts").
		expect(t, 3, "no manager leads", "https://127.0.0.1:1", "https://127.0.0.1:2", "Set VIREO_MANAGER=")
}

// TestOwnCertificateEnds: who asks with a certificate that ends soon is told so
// with every command, and how the next is made; what is printed for others is not
// touched by it.
func TestOwnCertificateEnds(t *testing.T) {
	dir, ca, own := secured(t, "https://unset")
	_, handler := managerv1connect.NewManagerServiceHandler(fleet())
	server := httptest.NewUnstartedServer(handler)
	server.TLS = pki.ServerTLS(func() tls.Certificate { return own }, ca.Pool(), func(*x509.Certificate) bool { return false }, time.Now)
	server.TLS.Certificates = []tls.Certificate{own} // httptest adds its own otherwise
	server.StartTLS()
	defer server.Close()
	const day = 24 * time.Hour
	issued, err := ca.IssueOperator("anna", pki.Viewer, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := issued.Write(dir, pki.AdminCertFile, pki.AdminKeyFile); err != nil {
		t.Fatal(err)
	}
	configure(t, dir, server.URL, "10s")
	until := issued.NotAfter.UTC().Format(time.DateOnly)
	for _, tt := range []struct {
		name string
		left time.Duration
		want string
	}{
		{"long", 61 * day, ""},
		{"soon", 59 * day, " ends on " + until + "; on the manager's machine vireo-manager operator --role viewer anna makes the next"},
		{"over", -time.Minute, " has ended on " + until},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := configuredRunner(t, map[string]string{"VIREO_CONFIG": filepath.Join(dir, "cli.toml")})
			r.now = func() time.Time { return issued.NotAfter.Add(-tt.left) }
			got := r.do(t.Context(), "status", "--json")
			if tt.want == "" && got.err != "" || !strings.Contains(got.err, tt.want) {
				t.Errorf("it says %q, want %q", got.err, tt.want)
			}
			if got.code != 0 || !strings.HasPrefix(got.out, "{") {
				t.Errorf("code %d: %s", got.code, got.out)
			}
		})
	}
}
