package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vireo-kvm/vireo/agent/dial"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/store"
)

// command runs the program without a process, and returns exit code and output.
func command(args ...string) (code int, out string) {
	var both bytes.Buffer
	a := app()
	a.Writer = &both
	code = daemon.Run(context.Background(), a, append([]string{"vireo-manager"}, args...), &both)
	return code, both.String()
}

// site is a directory with a configuration, initialised.
type site struct {
	config string
	cfg    configs.Manager
	url    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	probe.Close()
	s := &site{config: filepath.Join(dir, "manager.toml"), url: "https://" + address}
	token := filepath.Join(dir, "token")
	text := fmt.Sprintf("listen = %q\nstate_dir = %q\nrun_dir = %q\npki_dir = %q\n[metrics]\ntoken_file = %q\n", address,
		filepath.Join(dir, "state"), filepath.Join(dir, "run"), filepath.Join(dir, "pki"), token)
	for path, content := range map[string]string{s.config: text, token: "sesame\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := command("init", "--config", s.config, "--name", "m.example"); code != 0 || !strings.Contains(out, "m.example") {
		t.Fatalf("init: %d %s", code, out)
	}
	if s.cfg, err = configs.LoadManager(s.config); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the manager until stop, which waits for its end.
func (s *site) start(t *testing.T) (stop func() error) {
	t.Helper()
	ready := notifySocket(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, s.cfg, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	select {
	case state := <-ready:
		if state != "READY=1" {
			t.Errorf("systemd heard %q", state)
		}
	case err := <-done:
		cancel()
		t.Fatalf("the manager ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("never ready")
	}
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { stop() })
	return stop
}

// notifySocket stands in for systemd.
func notifySocket(t *testing.T) <-chan string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	heard := make(chan string, 1)
	go func() {
		buf := make([]byte, 100)
		if n, err := conn.Read(buf); err == nil {
			heard <- string(buf[:n])
		}
	}()
	return heard
}

func (s *site) api(t *testing.T) managerv1connect.ManagerServiceClient {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("run the tests as root: nobody else may use the manager's socket")
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.cfg.Socket())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return managerv1connect.NewManagerServiceClient(&http.Client{Transport: transport}, "http://manager")
}

func token(t *testing.T, api managerv1connect.ManagerServiceClient, host string, valid time.Duration) string {
	t.Helper()
	res, err := api.CreateToken(t.Context(), connect.NewRequest(&managerv1.CreateTokenRequest{Host: host, ValidFor: durationpb.New(valid)}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.GetToken()
}

func (s *site) enrolment(t *testing.T, host, token string) dial.Enrolment {
	t.Helper()
	return dial.Enrolment{Manager: s.url, Token: token, Host: host, MachineID: "machine-" + host, Dir: t.TempDir(), Now: time.Now}
}

// TestManager goes the way of an operator and of a host, and tries what strangers
// may try: the manager must be there afterwards.
func TestManager(t *testing.T) {
	s := newSite(t)
	stop := s.start(t)
	api := s.api(t)

	first := s.enrolment(t, "h1", token(t, api, "h1", time.Hour))
	if _, err := dial.Enroll(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	short := token(t, api, "h2", time.Second)
	for name, e := range map[string]dial.Enrolment{
		"a token a second time":  first,
		"a token for h3 from h4": s.enrolment(t, "h4", token(t, api, "h3", time.Hour)),
		"garbage in the request": s.enrolment(t, "h5/../x", token(t, api, "h5", time.Hour)),
	} {
		if _, err := dial.Enroll(t.Context(), e); err == nil || apierr.ExitCode(err) == apierr.ExitUnreachable {
			t.Errorf("%s: %v", name, err)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := dial.Enroll(t.Context(), s.enrolment(t, "h2", short)); apierr.ExitCode(err) != apierr.ExitRefused {
		t.Errorf("a token after its time: %v", err)
	}

	id, err := dial.Load(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	d := dial.NewDialer(dial.Options{Managers: []string{s.url}, Identity: id, Clock: daemon.Clock{}, Random: func() float64 { return 0 }})
	session, err := d.Dial(t.Context(), &agentv1.Hello{Identity: &agentv1.Identity{Host: "h1", MachineId: "machine-h1"}, BootId: "b", Protocol: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	if m, err := session.Recv(); err != nil || m.GetWelcome().GetSession() == "" {
		t.Errorf("welcome: %v, %v", m, err)
	}
	hosts, err := api.ListHosts(t.Context(), connect.NewRequest(&managerv1.ListHostsRequest{}))
	if err != nil || len(hosts.Msg.GetHosts()) != 1 || !hosts.Msg.GetHosts()[0].GetConnected() {
		t.Errorf("hosts: %v, %v", hosts, err)
	}
	if got := s.get(t, "/metrics"); !strings.Contains(got, "vireo_build_info") || !strings.Contains(got, `not_after_timestamp_seconds{certificate="manager"}`) || !strings.Contains(got, `vireo_host_up{host="h1"}`) {
		t.Errorf("metrics:\n%s", got)
	}
	if got := s.get(t, "/healthz"); got != "ok\n" {
		t.Errorf("healthz: %s", got)
	}

	// Another manager on the same store must not begin, and must not disturb.
	if err := run(t.Context(), s.cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), store.ErrLocked.Error()) {
		t.Errorf("a second manager: %v", err)
	}
	if _, err := api.GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{})); err != nil {
		t.Errorf("after the second manager: %v", err)
	}

	if err := stop(); err != nil {
		t.Errorf("the manager ended with %v", err)
	}
	if _, err := session.Recv(); err == nil {
		t.Error("the session outlived the manager")
	}
	// A leftover socket is no obstacle.
	if err := os.WriteFile(s.cfg.Socket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop = s.start(t)
	status, err := s.api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{}))
	if err != nil || status.Msg.GetTerm() != 2 || status.Msg.GetHosts() != 1 {
		t.Errorf("after a restart: %v, %v", status, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func (s *site) get(t *testing.T, path string) string {
	t.Helper()
	code, out := command("operator", "--config", s.config, "--role", "viewer", "--out", t.TempDir(), "prometheus")
	if code != 0 {
		t.Fatalf("operator: %s", out)
	}
	transport := &http.Transport{TLSClientConfig: tlsOf(t, s)}
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sesame")
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
