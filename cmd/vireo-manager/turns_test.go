package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/agent/dial"
	"github.com/vireo-kvm/vireo/agent/wire/leader"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/cmd/internal/daemon"
	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// turnSites are managers of one fleet: one CA, one etcd, each reached through a
// proxy of its own so that it can be cut off.
func turnSites(t *testing.T, n int) (sites []*site, proxies []*etcdtest.Proxy) {
	t.Helper()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	shared := t.TempDir()
	for i := range n {
		dir := t.TempDir()
		probe, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := probe.Addr().String()
		probe.Close()
		proxy := etcdtest.NewProxy(t, cluster.Nodes()[0].Address())
		s := &site{config: filepath.Join(dir, "manager.toml"), url: "https://" + address}
		text := fmt.Sprintf("listen = %q\nadvertise = %q\nstate_dir = %q\nrun_dir = %q\npki_dir = %q\nstore = \"etcd\"\n[etcd]\nendpoints = [%q]\n",
			address, s.url, filepath.Join(dir, "state"), filepath.Join(dir, "run"), shared, proxy.Endpoint())
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.cfg, err = configs.LoadManager(s.config); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if code, out := command("init", "--config", s.config); code != 0 {
				t.Fatalf("init: %d %s", code, out)
			}
		}
		for _, d := range []string{s.cfg.StateDir, s.cfg.RunDir} {
			if err := os.MkdirAll(d, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		sites, proxies = append(sites, s), append(proxies, proxy)
	}
	return sites, proxies
}

// begin runs a manager without waiting for it to lead.
func (s *site) begin(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, s.cfg, slog.New(slog.NewTextHandler(t.Output(), nil)).With("manager", s.url)) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s ended with %v", s.url, err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// leads waits until one of the managers leads, and returns which and its term.
func leads(t *testing.T, sites []*site, not int) (which int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for i, s := range sites {
			if i == not {
				continue
			}
			if _, err := s.api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{})); err == nil {
				return i
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nobody leads")
	return -1
}

// TestTurns: one of two leads, the other names it; an agent finds it; when the
// leader is cut off from etcd the other leads within five seconds, the agent
// follows, and the old leader answers nothing, then stands by.
func TestTurns(t *testing.T) {
	sites, proxies := turnSites(t, 2)
	for _, s := range sites {
		s.begin(t)
	}
	first := leads(t, sites, -1)
	second := 1 - first
	_, err := sites[second].api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{}))
	deadline := time.Now().Add(10 * time.Second)
	for url, _ := leader.Of(err); url != sites[first].url; url, _ = leader.Of(err) {
		if time.Now().After(deadline) {
			t.Fatalf("the other says %v and names %q, %s leads", err, url, sites[first].url)
		}
		time.Sleep(50 * time.Millisecond)
		_, err = sites[second].api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{}))
	}

	token, err := sites[first].api(t).CreateToken(t.Context(), connect.NewRequest(&managerv1.CreateTokenRequest{Host: "h1"}))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	enrolment := dial.Enrolment{Manager: sites[second].url, Token: token.Msg.GetToken(), Host: "h1", MachineID: "m", Dir: dir, Now: time.Now}
	if _, err := dial.Enroll(t.Context(), enrolment); err == nil {
		t.Error("a manager that does not lead has let a host in")
	}
	enrolment.Manager = sites[first].url
	if _, err := dial.Enroll(t.Context(), enrolment); err != nil {
		t.Fatal(err)
	}
	id, err := dial.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := dial.NewDialer(dial.Options{Managers: []string{sites[second].url, sites[first].url}, Identity: id, Clock: daemon.Clock{}, Random: func() float64 { return 0 }})
	attempts := 0
	session := func() (term uint64, ended chan struct{}) {
		t.Helper()
		for tries := 0; ; tries++ {
			attempts = tries + 1
			s, err := d.Dial(t.Context(), &agentv1.Hello{Protocol: 1, BootId: "b", Identity: &agentv1.Identity{Host: "h1", MachineId: "m"}})
			if err != nil {
				if tries > 100 {
					t.Fatal(err)
				}
				continue
			}
			t.Cleanup(s.Close)
			welcome, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			ended = make(chan struct{})
			go func() {
				defer close(ended)
				for {
					if _, err := s.Recv(); err != nil {
						return
					}
				}
			}()
			return welcome.GetWelcome().GetTerm(), ended
		}
	}
	term, ended := session()
	if attempts != 1 {
		t.Errorf("the agent needed %d attempts where the first that it asked named the leader", attempts)
	}

	proxies[first].Partition(true)
	begun := time.Now()
	<-ended
	next, _ := session()
	if took := time.Since(begun); took > 6*time.Second { // five, and one for a busy machine
		t.Errorf("the agent followed after %v", took)
	}
	if next <= term {
		t.Errorf("the next term is %d after %d", next, term)
	}
	if got := leads(t, sites, first); got != second {
		t.Errorf("manager %d leads", got)
	}
	if _, err := sites[first].api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{})); err == nil {
		t.Error("the old leader still answers")
	}

	// Back again it stands by and names the other.
	proxies[first].Partition(false)
	deadline = time.Now().Add(20 * time.Second)
	for {
		_, err := sites[first].api(t).GetStatus(t.Context(), connect.NewRequest(&managerv1.GetStatusRequest{}))
		if url, _ := leader.Of(err); url == sites[second].url {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the old leader says %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestResigns: a leader that is told to stop gives the lead away before its last
// requests have ended.
func TestResigns(t *testing.T) {
	sites, _ := turnSites(t, 2)
	stops := []func(){sites[0].begin(t), sites[1].begin(t)}
	first := leads(t, sites, -1)
	// A request whose end does not come is waited for, for 5 s.
	slow, err := net.Dial("unix", filepath.Join(sites[first].cfg.RunDir, "manager.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprint(slow, "POST /vireo.manager.v1.ManagerService/GetStatus HTTP/1.1\r\nHost: manager\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(slow).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v: want the manager to wait for the request's body", line, err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stops[first]()
	}()
	leads(t, sites, first)
	select {
	case <-stopped:
		t.Error("the other leads only after the last request of the first has ended")
	default:
	}
	slow.Close()
	<-stopped
}

// What copies the database of one manager says so of a store that is elsewhere.
func TestNoBackupOfEtcd(t *testing.T) {
	config := filepath.Join(t.TempDir(), "manager.toml")
	if err := os.WriteFile(config, []byte("store = \"etcd\"\n[etcd]\nendpoints = [\"http://127.0.0.1:1\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"backup", "restore"} {
		if code, out := command(verb, "--config", config, "/nowhere"); code != 2 || !strings.Contains(out, "etcdctl snapshot") {
			t.Errorf("%s: exit %d: %s", verb, code, out)
		}
	}
}
