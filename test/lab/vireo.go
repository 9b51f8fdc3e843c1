package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/test/lab/hostinit"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// managerSocket is where root on a manager's machine reaches it.
const managerSocket = "/run/vireo-manager/manager.sock"

// Exports are the settings of a shell whose vireo talks to this lab, as NAME=VALUE in the shell's own quoting.
func (l *Lab) Exports() []string {
	out := []string{"PATH='" + strings.ReplaceAll(l.Options.Bin, "'", `'\''`) + `':"$PATH"`}
	if !l.Options.NoVireo {
		out = append(out, "VIREO_MANAGER="+strings.Join(l.ManagerURLs(), ","), "VIREO_CONFIG="+OperatorConfig())
	}
	return out
}

// managerTOML is the lab's manager.toml: it acts by itself, on the first reading
// that says so, at the default thresholds.
func managerTOML(d Description, manager string) string {
	return fmt.Sprintf(`# The lab's manager. What is not here has its default; the thresholds are never set here.
mode = %q
hold = "0s"
hold_readings = 1
`, d.Options.Mode) + etcdTOML(d, manager)
}

// agentTOML is the agent.toml of a host: hardware as the lab shows it, and the lab's libvirts reach each other by TCP.
func agentTOML(d Description, host string) string {
	r := rootsOf(host)
	managers := make([]string, 0, len(d.ManagerNames()))
	for _, name := range d.ManagerNames() {
		managers = append(managers, fmt.Sprintf("%q", "https://"+name+":7443"))
	}
	return fmt.Sprintf(`# The agent of a host of the lab. What is not here has its default.
manager = [%s]
smart_interval = "1s"
smart_timeout = "5s"
smartctl = %q

[migration]
peer_uri = "qemu+tcp://{host}/system"

[roots]
sys = %q
kmsg = %q
mounts = %q

[hook]
mode = %q
`, strings.Join(managers, ", "), r.Smartctl, r.Sys, r.Kmsg, r.Mounts, d.Options.Hook)
}

// cliTOML is the configuration of vireo for the lab's administrator.
func cliTOML(d Description) string {
	pki := filepath.Join(machineDir(ManagerName), "disk", "etc", "vireo", "pki")
	urls := make([]string, 0, len(d.ManagerURLs()))
	for _, u := range d.ManagerURLs() {
		urls = append(urls, fmt.Sprintf("%q", u))
	}
	return fmt.Sprintf("manager = [%s]\nca = %q\ncert = %q\nkey = %q\n", strings.Join(urls, ", "),
		filepath.Join(pki, "ca.crt"), filepath.Join(pki, "operator.crt"), filepath.Join(pki, "operator.key"))
}

// configFile is where a machine's configuration is, as seen from outside.
func configFile(machine, name string) string {
	return filepath.Join(machineDir(machine), "disk", "etc", "vireo", name)
}

// startVireo sets vireo up as an operator does: a CA, a manager, a token for each
// host, its exchange for a certificate, and the agents. It returns when the manager
// has heard of every host.
func (l *Lab) startVireo(ctx context.Context) error {
	files := map[string]string{OperatorConfig(): cliTOML(l.Description)}
	for _, name := range l.ManagerNames() {
		files[configFile(name, "manager.toml")] = managerTOML(l.Description, name)
	}
	for _, h := range l.Hosts {
		files[configFile(h.Name, "agent.toml")] = agentTOML(l.Description, h.Name)
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := l.initManagers(ctx); err != nil {
		return err
	}
	for _, name := range l.ManagerNames() {
		if err := l.startService(ctx, name, "manager", managerSocket, "vireo-manager", "run"); err != nil {
			return err
		}
	}
	if err := l.waitManagers(ctx); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		group.Go(func() error { return l.startAgent(gctx, h.Name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return l.waitAgents(ctx)
}

// startAgent lets a host in and starts its agent.
func (l *Lab) startAgent(ctx context.Context, host string) error {
	// root on the manager's machine is an administrator by the socket.
	leader, err := l.Leader(ctx)
	if err != nil {
		return err
	}
	token, err := l.Exec(ctx, leader, "env", "VIREO_MANAGER=unix://"+managerSocket, "vireo", "agents", "token", "--host", host)
	if err != nil {
		return err
	}
	if _, err := l.Exec(ctx, host, "env", "VIREO_TOKEN="+strings.TrimSpace(token), "vireo-agent", "enroll"); err != nil {
		return err
	}
	return l.startService(ctx, host, "agent", "", "vireo-agent", "run")
}

// unitNice is the Nice of vireo's systemd units.
const unitNice = -10

// startService starts a service of a machine that it will also have after a boot.
func (l *Lab) startService(ctx context.Context, machine, name, ready string, argv ...string) error {
	spec, err := hostinit.Read(machineDir(machine))
	if err != nil {
		return err
	}
	svc := supervise.Service{
		Name: name, Argv: append([]string{filepath.Join(spec.Dir, "bin", argv[0])}, argv[1:]...), Ready: ready, Nice: unitNice,
		Dirs: []string{"/run/vireo-" + name, "/var/lib/vireo-" + name}, Restart: !l.Options.NoRestart, Log: filepath.Join(spec.Logs(), name+".log"),
	}
	spec.Services = append(spec.Services, svc)
	if err := spec.Write(); err != nil {
		return err
	}
	return supervise.Client{Socket: spec.Control()}.Start(ctx, svc)
}

// waitManagers waits until each manager answers on its socket, and one leads.
func (l *Lab) waitManagers(ctx context.Context) error {
	return poll(ctx, 30*time.Second, "managers", func() error {
		for _, name := range l.ManagerNames() {
			if _, err := l.pidOf(ctx, name, "manager"); err != nil {
				return fmt.Errorf("%w; its log: %s", err, tail(filepath.Join(machineDir(name), "log", "manager.log")))
			}
			if err := dialInside(name, managerSocket); err != nil {
				return err
			}
		}
		_, err := l.Leader(ctx)
		return err
	})
}

// APIOf returns a client of one manager, whether it leads or not.
func (l *Lab) APIOf(manager string) (managerv1connect.ManagerServiceClient, error) {
	f, err := readFirst(manager)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	inside := fmt.Sprintf("/proc/%d/root%s", f.PID, managerSocket)
	// Whoever asks for a client each time leaves no connections behind.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", inside) }}
	return managerv1connect.NewManagerServiceClient(&http.Client{Transport: transport}, "http://"+manager), nil
}

// waitAgents waits until every host has reported and every guest's claim is held.
func (l *Lab) waitAgents(ctx context.Context) error {
	return poll(ctx, time.Minute, "agents", func() error {
		api, err := l.API()
		if err != nil {
			return err
		}
		hosts, err := api.ListHosts(ctx, connect.NewRequest(&managerv1.ListHostsRequest{}))
		if err != nil {
			return err
		}
		reported := 0
		for _, h := range hosts.Msg.GetHosts() {
			if h.GetConnected() && h.GetLibvirtd() && (h.GetHookProven() || l.Options.Hook == string(configs.HookOff)) {
				reported++
			}
		}
		claims, err := api.ListClaims(ctx, connect.NewRequest(&managerv1.ListClaimsRequest{}))
		if err != nil {
			return err
		}
		if held := len(claims.Msg.GetClaims()); reported < len(l.Hosts) || held < len(l.Guests) {
			return fmt.Errorf("%d of %d hosts have reported all, %d of %d guests are claimed", reported, len(l.Hosts), held, len(l.Guests))
		}
		return nil
	})
}
