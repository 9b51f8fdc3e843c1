package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/test/heartbeat"
	"github.com/vireo-kvm/vireo/test/lab/hostinit"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// Lab is a fleet that is up.
type Lab struct {
	Description
}

// Open returns the lab that is up, or an error that is ErrDown.
func Open() (*Lab, error) {
	d, err := readDescription()
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; `vireo-lab up` makes one", ErrDown)
	}
	if err != nil {
		return nil, err
	}
	d.Options.Say = func(string) {}
	return &Lab{Description: d}, nil
}

// Machine is what a machine is at a moment: a host, the manager's machine or the switch.
type Machine struct {
	Name       string             `json:"name"`
	Address    string             `json:"address"`
	Up         bool               `json:"up"`
	PID        int                `json:"pid"` // of its first process; 0 while it is down
	Libvirtd   int                `json:"libvirtd_pid,omitempty"`
	Agent      int                `json:"agent_pid,omitempty"`
	Manager    int                `json:"manager_pid,omitempty"`
	BootID     string             `json:"boot_id"`
	Dir        string             `json:"dir"`
	Namespaces map[string]string  `json:"namespaces"` // "net" by the name that `ip netns` shows, the others by the kernel's
	Services   []supervise.Status `json:"services"`   // their pids as seen from outside
}

// HostStates returns all hosts, in order.
func (l *Lab) HostStates(ctx context.Context) ([]Machine, error) {
	var out []Machine
	for _, h := range l.Description.Hosts {
		m, err := l.Machine(ctx, h.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// Machine returns what a machine is now. One that is down is no error.
func (l *Lab) Machine(ctx context.Context, name string) (Machine, error) {
	address, err := l.addressOf(name)
	if err != nil {
		return Machine{}, err
	}
	m := Machine{Name: name, Address: address, Dir: machineDir(name), Namespaces: map[string]string{"net": netnsOf(name)}, Services: []supervise.Status{}}
	spec, err := hostinit.Read(m.Dir)
	if err != nil {
		return Machine{}, err
	}
	m.BootID = spec.BootID
	f, err := readFirst(name)
	if err != nil || !f.alive() {
		return m, nil
	}
	m.Up, m.PID = true, f.PID
	for _, ns := range []string{"mnt", "pid", "uts"} {
		if id, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", f.PID, ns)); err == nil {
			m.Namespaces[ns] = id
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	services, err := supervise.Client{Socket: spec.Control()}.List(ctx)
	if err != nil {
		return m, nil // it is still booting
	}
	pids, err := pidsIn(f.PID)
	if err != nil {
		return m, nil // it has just gone down
	}
	for _, s := range services {
		s.PID = pids[s.PID]
		switch s.Name {
		case "libvirtd":
			m.Libvirtd = s.PID
		case "agent":
			m.Agent = s.PID
		case "manager":
			m.Manager = s.PID
		}
		m.Services = append(m.Services, s)
	}
	return m, nil
}

// Copy is a QEMU process of a guest.
type Copy struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
}

// GuestState is where a guest is, by the processes that exist and not by what libvirt says.
type GuestState struct {
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	Address string `json:"address"`
	Host    string `json:"host"`     // of its only process, or of the one whose beats arrive; "" if it has none
	QEMU    int    `json:"qemu_pid"` // there; 0 if it has none
	Copies  []Copy `json:"copies"`   // more than one while it migrates, or when something is wrong
}

// GuestStates returns all guests, in order.
func (l *Lab) GuestStates(ctx context.Context) ([]GuestState, error) {
	copies := map[string][]Copy{}
	for _, h := range l.Description.Hosts {
		f, err := readFirst(h.Name)
		if err != nil || !f.alive() {
			continue
		}
		pids, err := pidsIn(f.PID)
		if err != nil {
			continue // it has just gone down
		}
		for _, pid := range pids {
			if uuid := qemuUUID(pid); uuid != "" {
				copies[uuid] = append(copies[uuid], Copy{Host: h.Name, PID: pid})
			}
		}
	}
	beats, _ := l.Heartbeats().Guests(ctx) // without them the processes alone must do
	out := make([]GuestState, 0, len(l.Description.Guests))
	for _, g := range l.Description.Guests {
		s := GuestState{Name: g.Name, UUID: g.UUID, Address: g.Address, Copies: copies[g.UUID]}
		if s.Copies == nil {
			s.Copies = []Copy{}
		}
		slices.SortFunc(s.Copies, func(a, b Copy) int { return strings.Compare(a.Host, b.Host) })
		for _, c := range s.Copies {
			speaks := slices.ContainsFunc(beats, func(b heartbeat.Guest) bool { return b.Name == g.Name && b.Host == c.Host })
			if s.QEMU == 0 || speaks {
				s.Host, s.QEMU = c.Host, c.PID
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// qemuUUID returns the UUID of the guest that a process is; "" if it is none.
func qemuUUID(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "cmdline"))
	if err != nil {
		return ""
	}
	args := bytes.Split(b, []byte{0})
	for i, a := range args[:max(0, len(args)-1)] {
		if string(a) == "-uuid" {
			return string(args[i+1])
		}
	}
	return ""
}

// LogFiles returns the logs of a machine's services; all machines if it is "", all services if service is.
func (l *Lab) LogFiles(machine, service string) ([]string, error) {
	machines := l.Machines()
	if machine != "" {
		if _, err := l.addressOf(machine); err != nil {
			return nil, err
		}
		machines = []string{machine}
	}
	if service == "" {
		service = "*"
	}
	var files []string
	for _, m := range machines {
		found, err := filepath.Glob(filepath.Join(machineDir(m), "log", service+".log"))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no service %q", machine, service)
	}
	return files, nil
}
