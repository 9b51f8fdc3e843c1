package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/configs"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/api/v1/managerv1connect"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// With store = "etcd" the lab has several managers' machines, "manager",
// "manager2", …, and a cluster of etcd on machines of its own, "etcd1", ….

const (
	// MaxManagers is how many there may be.
	MaxManagers = 5
	// etcdNodes is how many nodes the cluster has: one may go.
	etcdNodes = 3
	// etcdMiB is the size of a node's state directory; etcd reserves 64 MiB for
	// each piece of its log.
	etcdMiB = 512
)

// managerName is the machine of the manager with a number from 1 on.
func managerName(n int) string {
	if n == 1 {
		return ManagerName
	}
	return fmt.Sprintf("%s%d", ManagerName, n)
}

// The addresses of the managers and of etcd begin at 10.77.0.3 and 10.77.0.11.
func managerAddress(n int) string { return fmt.Sprintf("10.77.0.%d", 2+n) }
func managerURL(n int) string     { return "https://" + managerAddress(n) + ":7443" }
func etcdName(n int) string       { return fmt.Sprintf("etcd%d", n) }
func etcdAddress(n int) string    { return fmt.Sprintf("10.77.0.%d", 10+n) }

// several says whether managers take turns.
func (o Options) several() bool { return o.Store == configs.StoreEtcd }

// ManagerNames are the managers' machines.
func (d Description) ManagerNames() (names []string) {
	for n := range max(1, d.Options.Managers) {
		names = append(names, managerName(n+1))
	}
	return names
}

// ManagerURLs are where agents and operators reach them.
func (d Description) ManagerURLs() (urls configs.URLs) {
	for n := range max(1, d.Options.Managers) {
		urls = append(urls, managerURL(n+1))
	}
	return urls
}

// EtcdNames are the machines of etcd, if there are any.
func (d Description) EtcdNames() (names []string) {
	if d.Options.several() {
		for n := range etcdNodes {
			names = append(names, etcdName(n+1))
		}
	}
	return names
}

// others are all machines that are neither hosts nor the switch, with their
// addresses.
func (d Description) others() map[string]string {
	all := map[string]string{}
	for n, name := range d.ManagerNames() {
		all[name] = managerAddress(n + 1)
	}
	for n, name := range d.EtcdNames() {
		all[name] = etcdAddress(n + 1)
	}
	return all
}

// isHost says whether a machine has a libvirt.
func isHost(machine string) bool {
	return machine != SwitchName && !isManager(machine) && !isEtcd(machine)
}

func isManager(machine string) bool { return strings.HasPrefix(machine, ManagerName) }
func isEtcd(machine string) bool    { return strings.HasPrefix(machine, "etcd") }

// stateOf is the directory that has a file system of its own, and its size in MiB.
func stateOf(machine string) (dir string, size int) {
	switch {
	case isManager(machine):
		return "/var/lib/vireo-manager", stateMiB
	case isEtcd(machine):
		return "/var/lib/etcd", etcdMiB
	}
	return "/var/lib/vireo-agent", stateMiB
}

// etcdService is the node that runs on a machine.
func etcdService(d Description, machine string) supervise.Service {
	var cluster []string
	for n, name := range d.EtcdNames() {
		cluster = append(cluster, fmt.Sprintf("%s=http://%s:2380", name, etcdAddress(n+1)))
	}
	address := d.others()[machine]
	state, _ := stateOf(machine)
	return supervise.Service{
		Name: "etcd", Restart: !d.Options.NoRestart, Log: filepath.Join(machineDir(machine), "log", "etcd.log"), Dirs: []string{state},
		Argv: []string{"etcd", "--name", machine, "--data-dir", state + "/data", "--log-level", "warn",
			"--listen-client-urls", "http://" + address + ":2379", "--advertise-client-urls", "http://" + address + ":2379",
			"--listen-peer-urls", "http://" + address + ":2380", "--initial-advertise-peer-urls", "http://" + address + ":2380",
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-token", "vireo-lab"},
	}
}

// etcdTOML is what a manager's configuration says about etcd.
func etcdTOML(d Description, manager string) string {
	if !d.Options.several() {
		return ""
	}
	var endpoints []string
	for n := range d.EtcdNames() {
		endpoints = append(endpoints, fmt.Sprintf("%q", "http://"+etcdAddress(n+1)+":2379"))
	}
	return fmt.Sprintf("store = \"etcd\"\nadvertise = %q\n\n[etcd]\nendpoints = [%s]\n",
		"https://"+d.others()[manager]+":7443", strings.Join(endpoints, ", "))
}

// initManagers makes the fleet's CA on the first manager's machine, and brings it
// to the others as an operator does.
func (l *Lab) initManagers(ctx context.Context) error {
	for n, name := range l.ManagerNames() {
		if n > 0 {
			to := configFile(name, "pki")
			if err := os.MkdirAll(to, 0o750); err != nil {
				return err
			}
			for _, file := range []string{"ca.crt", "ca.key"} {
				text, err := os.ReadFile(filepath.Join(configFile(ManagerName, "pki"), file))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(to, file), text, 0o600); err != nil {
					return err
				}
			}
		}
		if _, err := l.Exec(ctx, name, "vireo-manager", "init", "--name", name, "--name", managerAddress(n+1)); err != nil {
			return err
		}
	}
	return nil
}

// errNobodyLeads is what Leader says while there is none.
var errNobodyLeads = errors.New("no manager leads")

// Leader returns the machine of the manager that leads at this moment, by asking
// each.
func (l *Lab) Leader(ctx context.Context) (string, error) {
	names := l.ManagerNames()
	if len(names) == 1 {
		return names[0], nil
	}
	var errs []error
	for _, name := range names {
		api, err := l.APIOf(name)
		if err == nil {
			actx, cancel := context.WithTimeout(ctx, time.Second)
			_, err = api.GetStatus(actx, connect.NewRequest(&managerv1.GetStatusRequest{}))
			cancel()
		}
		if err == nil {
			return name, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return "", fmt.Errorf("%w: %w", errNobodyLeads, errors.Join(errs...))
}

// API returns a client of the manager that leads at this moment, which speaks as
// root on its machine: an administrator by the socket. It stops working when that
// machine crashes, or leads no more.
func (l *Lab) API() (managerv1connect.ManagerServiceClient, error) {
	leader, err := l.Leader(context.Background())
	if err != nil {
		return nil, err
	}
	return l.APIOf(leader)
}

// Followers are the managers' machines but one.
func (l *Lab) Followers(leader string) []string {
	return slices.DeleteFunc(l.ManagerNames(), func(name string) bool { return name == leader })
}
