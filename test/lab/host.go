package lab

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crypto/rand"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/lab/hostinit"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// ManagerName and SwitchName are the machines that are no hosts.
const (
	ManagerName = "manager"
	SwitchName  = switchName
)

// machineDir is where a machine's things are; the same path inside the machine.
func machineDir(name string) string {
	if !isHost(name) {
		return filepath.Join(Dir, name)
	}
	return filepath.Join(Dir, "hosts", name)
}

// first is a machine's first process.
type first struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

func (f first) alive() bool { return alive(f.PID, f.Start) }

func readFirst(machine string) (first, error) {
	var f first
	b, err := os.ReadFile(filepath.Join(machineDir(machine), "first.json"))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}

// addressOf returns a machine's address.
func (d Description) addressOf(machine string) (string, error) {
	if machine == SwitchName {
		return SwitchAddress, nil
	}
	if address, ok := d.others()[machine]; ok {
		return address, nil
	}
	for _, h := range d.Hosts {
		if h.Name == machine {
			return h.Address, nil
		}
	}
	names := make([]string, 0, len(d.Hosts))
	for _, h := range d.Hosts {
		names = append(names, h.Name)
	}
	return "", fmt.Errorf("there is no host %q; there are %s", machine, strings.Join(names, ", "))
}

// furnish makes a machine's directory: its file systems in memory with an /etc of its own.
func furnish(made *madeLog, d Description, machine string) error {
	dir := machineDir(machine)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, stateSize := stateOf(machine)
	for name, size := range map[string]int{"disk": diskMiB, "state": stateSize} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := made.add(thing{Kind: kindMount, Path: path}); err != nil {
			return err
		}
		if err := unix.Mount("vireo-lab", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=755,size=%dm", size)); err != nil {
			return fmt.Errorf("file system of %s: %w", path, err)
		}
	}
	etc := filepath.Join(dir, "disk", "etc")
	if err := run("cp", "-a", "/etc", etc); err != nil {
		return err
	}
	address, err := d.addressOf(machine)
	if err != nil {
		return err
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(etc, "vireo")),
		replace(filepath.Join(etc, "hostname"), machine+"\n"),
		replace(filepath.Join(etc, "hosts"), hostsFile(d)),
		replace(filepath.Join(etc, "machine-id"), machineID(address)+"\n"),
	)
}

// replace writes a file that may be a symbolic link to somewhere else by now.
func replace(path, text string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// hostsFile is the /etc/hosts of every machine.
func hostsFile(d Description) string {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1 localhost\n%s root\n%s storage heartbeats\n", RootAddress, SwitchAddress)
	others := d.others()
	for _, name := range slices.Sorted(maps.Keys(others)) {
		fmt.Fprintf(&b, "%s %s\n", others[name], name)
	}
	for _, h := range d.Hosts {
		fmt.Fprintf(&b, "%s %s\n", h.Address, h.Name)
	}
	for _, g := range d.Guests {
		fmt.Fprintf(&b, "%s %s\n", g.Address, g.Name)
	}
	return b.String()
}

// boot starts a machine that is furnished and whose network namespace exists.
func boot(made *madeLog, d Description, machine string, services []supervise.Service) error {
	dir := machineDir(machine)
	spec := hostinit.Spec{Name: machine, Dir: dir, BootID: newBootID(), Services: services}
	if machine != SwitchName {
		spec.Private, spec.Mount, spec.Bin, spec.Cache = true, filepath.Join(Dir, "mnt"), d.Options.Bin, CacheDir
		spec.State, _ = stateOf(machine)
	}
	p, err := hostinit.Start(spec, filepath.Join(d.Options.Bin, "vireo-lab"), func(f func() error) error { return inNetns(netnsOf(machine), f) })
	if err != nil {
		return err
	}
	start, err := startTime(p.PID)
	if err != nil {
		return fmt.Errorf("first process of %s: %w", machine, err)
	}
	if err := made.add(thing{Kind: kindProcess, Name: machine, PID: p.PID, Start: start}); err != nil {
		return err
	}
	b, err := json.Marshal(first{PID: p.PID, Start: start})
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(dir, "first.json"), b); err != nil {
		return err
	}
	return p.Go()
}

// newBootID draws what a kernel would draw.
func newBootID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// hostServices are the services of a host from its first boot on.
func hostServices(d Description, host string) []supervise.Service {
	return libvirtServices(filepath.Join(machineDir(host), "log"), !d.Options.NoRestart)
}

// waitLibvirt waits until a host's libvirtd accepts connections.
func waitLibvirt(ctx context.Context, host string) error {
	return poll(ctx, 60*time.Second, "libvirtd of "+host, func() error {
		f, err := readFirst(host)
		if err != nil {
			return err
		}
		if !f.alive() {
			return fmt.Errorf("host %s has ended; its log: %s", host, tail(filepath.Join(machineDir(host), "log", "init.log")))
		}
		return dialInside(host, libvirtSocket)
	})
}

// dialInside tries to connect to a Unix socket inside a machine.
func dialInside(machine, socket string) error {
	f, err := readFirst(machine)
	if err != nil {
		return err
	}
	c, err := net.Dial("unix", fmt.Sprintf("/proc/%d/root%s", f.PID, socket))
	if err == nil {
		c.Close()
	}
	return err
}

// poll tries until it works, ctx is done or the time is over; then it returns the last error.
func poll(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// tail returns the last lines of a log, for an error message.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}
