package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/configs"
)

const (
	// Dir holds everything a lab that is up knows about itself.
	Dir = "/run/vireo-lab"
	// CacheDir holds what is expensive to get; it stays when the lab goes.
	CacheDir = "/var/cache/vireo-lab"

	// A machine's file systems, in MiB of memory at most.
	diskMiB  = 256 // /etc and /var
	stateMiB = 64  // /var/lib/vireo-agent, /var/lib/vireo-manager

	// guestDiskMiB is the size of a guest's disk, of which almost nothing is used.
	guestDiskMiB = 64
)

// Limits of what can be asked for.
const (
	MaxHosts  = 64
	MaxGuests = 200
)

// ErrUp is returned by Up while a lab is up.
var ErrUp = errors.New("a lab is up already")

// ErrDown is returned by Open while none is.
var ErrDown = errors.New("no lab is up")

// Options says what fleet to make.
type Options struct {
	Hosts          int    `json:"hosts"`           // 1 to MaxHosts
	Guests         int    `json:"guests"`          // 0 to MaxGuests
	GuestMiB       int    `json:"guest_mem"`       // memory of each guest, at least 96
	GuestsOn       string `json:"guests_on"`       // the host that all guests start on; "": spread over all
	DirtyMiB       int    `json:"dirty_mem"`       // memory that each guest writes over and over; 0: an idle guest
	DirtyRate      int    `json:"dirty_rate"`      // MiB per second that it tries to write
	NoRestart      bool   `json:"no_restart"`      // leave a daemon that ended alone
	ShortKeepalive bool   `json:"keepalive_short"` // libvirt gives up on a silent peer after 4 s, not 30 s
	NoVireo        bool   `json:"no_vireo"`        // no manager and no agents
	Mode           string `json:"mode"`            // of the manager: "auto" (default), "recommend" or "shadow"
	Store          string `json:"store"`           // of the managers: "sqlite" (default) or "etcd", with a cluster of its own
	Managers       int    `json:"managers"`        // 1 (default) to MaxManagers; more than one with etcd only
	Hook           string `json:"hook"`            // libvirt's hook on the hosts: "off" (default), "observe" or "enforce"
	Bin            string `json:"bin"`             // directory of the programs; "": found by FindBin

	// Say is told what is going on, a line at a time; may be nil.
	Say func(string) `json:"-"`
}

// Validate fills in defaults and names the first value that is impossible.
func (o *Options) Validate() error {
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	if o.GuestMiB == 0 {
		o.GuestMiB = 128
	}
	if o.Mode == "" {
		o.Mode = string(configs.ModeAuto)
	}
	if o.Store == "" {
		o.Store = configs.StoreSQLite
	}
	if o.Managers == 0 {
		o.Managers = 1
	}
	if o.Hook == "" {
		o.Hook = string(configs.HookOff)
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	switch {
	case o.Hosts < 1 || o.Hosts > MaxHosts:
		return fmt.Errorf("hosts: %d, expected 1 to %d", o.Hosts, MaxHosts)
	case o.Guests < 0 || o.Guests > MaxGuests:
		return fmt.Errorf("guests: %d, expected 0 to %d", o.Guests, MaxGuests)
	case o.GuestMiB < 96 || o.GuestMiB > 65536:
		return fmt.Errorf("guest-mem: %d MiB, expected 96 to 65536", o.GuestMiB)
	case o.DirtyMiB < 0 || o.DirtyMiB > o.GuestMiB-72:
		return fmt.Errorf("dirty-mem: %d MiB, expected 0 to %d for a guest of %d MiB", o.DirtyMiB, o.GuestMiB-72, o.GuestMiB)
	case !slices.Contains([]configs.Mode{configs.ModeAuto, configs.ModeRecommend, configs.ModeShadow}, configs.Mode(o.Mode)):
		return fmt.Errorf("mode: %q, expected auto, recommend or shadow", o.Mode)
	case o.Store != configs.StoreSQLite && o.Store != configs.StoreEtcd:
		return fmt.Errorf("store: %q, expected sqlite or etcd", o.Store)
	case o.Managers < 1 || o.Managers > MaxManagers:
		return fmt.Errorf("managers: %d, expected 1 to %d", o.Managers, MaxManagers)
	case o.Managers > 1 && !o.several():
		return fmt.Errorf("managers: %d, expected 1 with the store %s; several need --store etcd", o.Managers, o.Store)
	case !slices.Contains([]configs.HookMode{configs.HookOff, configs.HookObserve, configs.HookEnforce}, configs.HookMode(o.Hook)):
		return fmt.Errorf("hook: %q, expected off, observe or enforce", o.Hook)
	case o.Hook != string(configs.HookOff) && o.NoVireo:
		return fmt.Errorf("hook: %q without vireo", o.Hook)
	case o.DirtyRate < 0:
		return fmt.Errorf("dirty-rate: %d MiB/s, expected 0 or more", o.DirtyRate)
	}
	if o.GuestsOn != "" {
		for n := range o.Hosts {
			if o.GuestsOn == hostName(n+1) {
				return o.findBin()
			}
		}
		return fmt.Errorf("guests-on: %q, expected one of h1 to h%d", o.GuestsOn, o.Hosts)
	}
	return o.findBin()
}

func (o *Options) findBin() (err error) {
	if o.Bin == "" {
		o.Bin, err = FindBin()
	}
	return err
}

func hostName(n int) string { return fmt.Sprintf("h%d", n) }

// FindBin returns the directory that holds vireo-lab: the running program's own,
// or bin/ of the module that the working directory is in, as in a test.
func FindBin() (string, error) {
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "vireo-lab" {
		return filepath.Dir(self), nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			bin := filepath.Join(dir, "bin")
			if _, err := os.Stat(filepath.Join(bin, "vireo-lab")); err != nil {
				return "", fmt.Errorf("%s is missing; make build makes it", filepath.Join(bin, "vireo-lab"))
			}
			return bin, nil
		}
	}
	return "", errors.New("the programs were not found: neither beside this one nor in bin/ of a module above the working directory")
}

// needs are the programs that the lab runs, with the Debian package of each.
var needs = []struct{ program, pkg string }{
	{"libvirtd", "libvirt-daemon"}, {"virtlogd", "libvirt-daemon"}, {"virsh", "libvirt-clients"},
	{"qemu-system-x86_64", "qemu-system-x86"}, {"qemu-nbd", "qemu-utils"},
	{"ip", "iproute2"}, {"tc", "iproute2"}, {"nft", "nftables"}, {"nsenter", "util-linux"},
	{"depmod", "kmod"}, {"modprobe", "kmod"}, {"busybox", "busybox-static"},
}

// checkMachine returns an error that names everything the machine lacks.
func checkMachine(o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab makes namespaces, mounts and links and needs root")
	}
	var missing []string
	if _, err := exec.LookPath("etcd"); o.several() && err != nil {
		missing = append(missing, "etcd (package etcd-server)")
	}
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", n.program, n.pkg))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; make deps installs them", strings.Join(missing, ", "))
	}
	return nil
}

// checkPrograms returns an error that names the first of vireo's own programs that was not built.
func checkPrograms(o Options) error {
	programs := []string{"vireo-lab", "vireo-lab-guest"}
	if !o.NoVireo {
		programs = append(programs, "vireo", "vireo-manager", "vireo-agent")
	}
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(o.Bin, p)); err != nil {
			return fmt.Errorf("%s is missing; make build makes it", filepath.Join(o.Bin, p))
		}
	}
	return nil
}

// HostSpec is what a host is.
type HostSpec struct {
	Name    string `json:"name"`
	Number  int    `json:"number"`
	Address string `json:"address"`
	UUID    string `json:"uuid"` // of its libvirt
}

// GuestSpec is what a guest is.
type GuestSpec struct {
	Name      string `json:"name"`
	Number    int    `json:"number"`
	UUID      string `json:"uuid"`
	Address   string `json:"address"`
	MemoryMiB int    `json:"memory"`
	DirtyMiB  int    `json:"dirty_mem"`
	DirtyRate int    `json:"dirty_rate"`
	FirstHost string `json:"first_host"` // where it was started
}

// Description is what a lab is; it is kept in Dir/lab.json.
type Description struct {
	Since   time.Time   `json:"since"`
	Ready   bool        `json:"ready"` // false while it is being made, or if that was interrupted
	Options Options     `json:"options"`
	Image   image       `json:"image"`
	Hosts   []HostSpec  `json:"hosts"`
	Guests  []GuestSpec `json:"guests"`
}

// describe makes the description of a fleet.
func describe(o Options, img image, now time.Time) Description {
	d := Description{Since: now, Options: o, Image: img}
	for n := 1; n <= o.Hosts; n++ {
		d.Hosts = append(d.Hosts, HostSpec{Name: hostName(n), Number: n, Address: HostAddress(n), UUID: hostUUID(n)})
	}
	for n := 1; n <= o.Guests; n++ {
		first := o.GuestsOn
		if first == "" {
			first = hostName((n-1)%o.Hosts + 1)
		}
		d.Guests = append(d.Guests, GuestSpec{
			Name: fmt.Sprintf("g%d", n), Number: n, UUID: GuestUUID(n), Address: GuestAddress(n), MemoryMiB: o.GuestMiB,
			DirtyMiB: o.DirtyMiB, DirtyRate: o.DirtyRate, FirstHost: first,
		})
	}
	return d
}
