package virttest

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Host is one machine of a Fleet with its libvirtd.
type Host struct {
	f    *Fleet
	name string
	info virt.HostInfo

	up            bool
	boots         int
	libvirtd      bool
	libvirtdBoots int
	frozen        bool
	nextID        int
	domains       map[string]*domain // by UUID
	networks      []virt.Network
	pools         []virt.Pool
	bridges       map[string]bool
	hook          Hook
	asker         Asker
	watches       []*watch
	found         map[*proc]Phase        // stopped processes that a restart will find, see recover
	logged        map[string]virt.Reason // by name: the last end in the domain's own log
	conns         []*conn                // in the order they were opened
}

// Hook stands for /etc/libvirt/hooks/qemu: an error refuses where libvirt lets
// a hook refuse. It is called while libvirtd holds its locks and must not call
// the fleet.
type Hook func(domain, operation, suboperation, xml string) error

// Asker is a Hook that takes its time over what comes in: libvirtd goes on when
// answer is called, and everything else happens meanwhile. It may call the fleet.
type Asker func(domain, operation, xml string, answer func(error))

func newHost(f *Fleet, name string, i int) *Host {
	return &Host{
		f: f, name: name, up: true, boots: 1, libvirtd: true, libvirtdBoots: 1, nextID: 1,
		domains: map[string]*domain{}, bridges: map[string]bool{}, logged: map[string]virt.Reason{},
		info: virt.HostInfo{
			UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", i+1), Hostname: name,
			MemoryKiB: 4 << 20, CPUs: 4, Arch: "x86_64", CPUModel: "Skylake-Server-IBRS",
			HostModelXML:   "<cpu mode='custom' match='exact'><model>Skylake-Server-IBRS</model></cpu>",
			LibvirtVersion: 9000000, HypervisorVersion: 7002000,
			Machines: []string{"pc", "pc-i440fx-7.2", "pc-q35-7.2", "q35"}, LockManagerKnown: true,
		},
	}
}

// Name is the host's name; "qemu+tcp://NAME/system" is its libvirtd's URI.
func (h *Host) Name() string { return h.name }

// URI is how the other hosts' libvirtds reach this one.
func (h *Host) URI() string { return "qemu+tcp://" + h.name + "/system" }

// SetInfo changes what the host says of itself.
func (h *Host) SetInfo(edit func(*virt.HostInfo)) { h.f.change(func() { edit(&h.info) }) }

// SetNetworks says which networks a preflight finds.
func (h *Host) SetNetworks(n ...virt.Network) { h.f.change(func() { h.networks = n }) }

// SetPools replaces the storage pools.
func (h *Host) SetPools(p ...virt.Pool) { h.f.change(func() { h.pools = p }) }

// SetBridges replaces the bridges.
func (h *Host) SetBridges(names ...string) {
	h.f.change(func() {
		h.bridges = map[string]bool{}
		for _, n := range names {
			h.bridges[n] = true
		}
	})
}

// SetHook installs a hook; nil removes it.
func (h *Host) SetHook(hook Hook) { h.f.change(func() { h.hook = hook }) }

// SetAsker lets a hook that takes its time decide about incoming migrations, in
// the place of the one that SetHook has set; nil removes it.
func (h *Host) SetAsker(asker Asker) { h.f.change(func() { h.asker = asker }) }

// BootID changes with every boot.
func (h *Host) BootID() string {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return fmt.Sprintf("%s-boot-%d", h.name, h.boots)
}

// Crash ends everything on the host at once: QEMU, libvirtd, and the agent,
// whose connections and watches are just forgotten.
func (h *Host) Crash() {
	h.f.change(func() {
		h.f.changes++
		h.up, h.libvirtd, h.frozen = false, false, false
		h.watches = nil
		for _, c := range h.f.connsFrom(h) {
			c.end("its own host is gone", false)
		}
		for _, d := range h.domains {
			if d.proc != nil {
				d.proc = nil
			}
		}
		h.f.lost(h)
		for uuid, d := range h.domains {
			if d.def == "" {
				delete(h.domains, uuid)
			}
		}
	})
}

// Boot brings a crashed host back: libvirtd starts, with its autostarts, before
// anything else does.
func (h *Host) Boot() {
	h.f.change(func() {
		if h.up {
			return
		}
		h.up, h.nextID = true, 1
		h.boots++
		h.startLibvirtd()
		for _, d := range h.sorted() {
			if d.autostart && d.proc == nil {
				_ = d.boot(d.def, virt.StateRunning) // one line in libvirtd's log
			}
		}
	})
}

// KillLibvirtd kills libvirtd; QEMU goes on.
func (h *Host) KillLibvirtd() {
	h.f.change(func() {
		h.libvirtd, h.frozen = false, false
		h.f.libvirtdDied(h)
	})
}

// StartLibvirtd starts it again: it finds what runs and forgets what it only
// had in memory.
func (h *Host) StartLibvirtd() {
	h.f.change(func() {
		if h.up && !h.libvirtd {
			h.startLibvirtd()
		}
	})
}

func (h *Host) startLibvirtd() {
	h.libvirtd = true
	h.libvirtdBoots++
	for _, d := range h.sorted() {
		d.last = virt.Job{}
		if d.proc == nil {
			d.offReason = virt.ReasonUnknown
			continue
		}
		if h.call(d, "reconnect", "begin", d.proc.xml) != nil {
			d.end(virt.DetailFailed, virt.ReasonFailed) // a hook that fails here kills a running guest
			continue
		}
		h.f.reconnected(d)
	}
}

// Freeze stops libvirtd without killing it (SIGSTOP); Thaw lets it go on.
func (h *Host) Freeze() { h.f.change(func() { h.frozen = h.libvirtd }) }

// Thaw undoes Freeze.
func (h *Host) Thaw() { h.f.change(func() { h.frozen = false }) }

// KillQEMU kills a domain's process, as the kernel would for want of memory.
func (h *Host) KillQEMU(uuid string) {
	h.f.change(func() {
		if d := h.domains[uuid]; d != nil && d.proc != nil {
			h.f.processDied(d)
		}
	})
}

// PowerOff lets the guest shut itself down.
func (h *Host) PowerOff(uuid string) {
	h.f.change(func() {
		if d := h.domains[uuid]; d != nil && d.proc != nil && d.proc.state == virt.StateRunning {
			m := h.f.outgoing(d)
			d.emit(virt.Shutdown, "Finished")
			d.end(virt.DetailShutdown, virt.ReasonShutdown)
			if m != nil {
				m.sourceGone()
			}
		}
	})
}

// Save writes a running guest's memory to its managed save image and ends it, as
// virsh managedsave does. The next start goes on from there: with old memory, if
// the guest has run elsewhere since.
func (h *Host) Save(uuid string) error {
	var err error
	h.f.change(func() {
		d := h.domains[uuid]
		switch {
		case d == nil:
			err = noDomain("managed save", uuid)
		case d.def == "":
			err = invalid("managed save", uuid, "cannot do managed save for transient domain")
		case !h.libvirtd || h.frozen:
			err = refused("managed save", uuid, codeInternal, "no answer from libvirtd")
		case d.proc == nil || d.proc.state != virt.StateRunning:
			err = invalid("managed save", uuid, "domain is not running")
		case d.proc.job.Active():
			err = jobInTheWay("managed save", uuid, d.proc.job)
		default:
			d.managedSave, d.saved = true, d.proc.memory
			d.pause("saving", virt.DetailPaused)
			d.end("Saved", virt.ReasonSaved)
		}
	})
	return err
}

// SetLoad says how much memory a domain's migration transfers and how fast the
// guest dirties it, in bytes and bytes/s.
func (h *Host) SetLoad(uuid string, memory, dirty uint64) {
	h.f.change(func() {
		if d := h.domains[uuid]; d != nil {
			d.memory, d.dirty = memory, dirty
		}
	})
}

// SetManagedSave says whether a managed save image is there.
func (h *Host) SetManagedSave(uuid string, on bool) {
	h.f.change(func() {
		if d := h.domains[uuid]; d != nil {
			d.managedSave = on
		}
	})
}

// WatchExit implements virt.Exits for the processes of this host.
func (h *Host) WatchExit(p virt.Process, gone func()) (func() bool, error) {
	h.f.mu.Lock()
	w := &watch{p: p, gone: gone}
	alive := false
	for _, d := range h.domains {
		alive = alive || d.proc != nil && d.proc.process == p
	}
	if alive {
		h.watches = append(h.watches, w)
	} else {
		h.f.post(w.fire(h.f))
	}
	h.f.mu.Unlock()
	h.f.flush()
	return func() bool {
		h.f.mu.Lock()
		defer h.f.mu.Unlock()
		if w.done {
			return false
		}
		w.done = true
		return true
	}, nil
}

type watch struct {
	p    virt.Process
	gone func()
	done bool
}

// fire calls gone unless the watch has been stopped by then.
func (w *watch) fire(f *Fleet) func() {
	return func() {
		f.mu.Lock()
		call := !w.done
		w.done = true
		f.mu.Unlock()
		if call {
			w.gone()
		}
	}
}

func (h *Host) exited(p virt.Process) {
	kept := h.watches[:0]
	for _, w := range h.watches {
		if w.p == p {
			h.f.post(w.fire(h.f))
		} else {
			kept = append(kept, w)
		}
	}
	h.watches = kept
}

// call runs the hook as libvirtd would.
func (h *Host) call(d *domain, op, sub, xml string) error {
	if h.hook == nil {
		return nil
	}
	return h.hook(d.name, op, sub, xml)
}

func (h *Host) sorted() []*domain {
	ds := make([]*domain, 0, len(h.domains))
	for _, d := range h.domains {
		ds = append(ds, d)
	}
	sort.Slice(ds, func(i, j int) bool { return ds[i].uuid < ds[j].uuid })
	return ds
}

func (h *Host) byName(name string) *domain {
	for _, d := range h.domains {
		if d.name == name {
			return d
		}
	}
	return nil
}

// send gives an event to everybody who listens to this libvirtd. A connection
// that is silent gets it when it answers again, unless it breaks before.
func (h *Host) send(e virt.Event) {
	for _, c := range h.conns {
		c.send(e)
	}
}

// resolve finds the host that a URI names: no host name means from itself.
func (f *Fleet) resolve(from *Host, uri string) *Host {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return nil
	}
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, ":")
	if name == "" {
		return from
	}
	return f.Host(name)
}

// age is a process's start time in clock ticks (100 a second), never 0.
func (f *Fleet) age() uint64 { return uint64(f.now/(10*time.Millisecond)) + 1 }
