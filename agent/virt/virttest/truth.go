package virttest

import (
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// truth is what the fleet keeps for those who check it.
type truth struct {
	changes   uint64                   // of what is shown here
	lastRun   map[string]time.Duration // when a process of the domain last ran, by UUID
	documents map[string]virt.Domain   // parsed once; whoever gets one does not change it
}

// Guest is one QEMU process as it truly is, whatever any libvirtd says of it.
type Guest struct {
	Host, UUID string
	Process    virt.Process
	State      virt.State
	Reason     virt.Reason
	Attempt    string // that brought it, in its live XML
	Incoming   bool   // its memory is not whole yet
	// Memory is the time up to which its memory has seen the guest run.
	Memory time.Duration
	// Revived: it was let run although the guest had run somewhere else after
	// its memory was taken. Its disks are newer than its memory.
	Revived bool
}

// Running says whether its vCPUs may execute.
func (g Guest) Running() bool { return g.State != virt.StatePaused }

// Guests lists every process of the fleet, by host and UUID.
func (f *Fleet) Guests() []Guest {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Guest
	for _, h := range f.hosts {
		for _, d := range h.sorted() {
			p := d.proc
			if p == nil {
				continue
			}
			v, err := d.view()
			if err != nil {
				panic(err) // it was parsed when the process was made
			}
			all = append(all, Guest{
				Host: h.name, UUID: d.uuid, Process: p.process, State: p.state, Reason: p.reason, Attempt: v.Attempt,
				Incoming: p.memory < 0, Memory: max(p.memory, 0), Revived: p.revived,
			})
		}
	}
	return all
}

// Changes grows whenever Guests, or Moving, may answer otherwise than before,
// but for Memory, which grows with time.
func (f *Fleet) Changes() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

// LastRun is when a process of the domain last ran anywhere: what is older than
// that is old memory. Zero when none has.
func (f *Fleet) LastRun(uuid string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastRun[uuid]
}

// DefinedOn names the hosts that keep a definition of the domain, also those
// that are down.
func (f *Fleet) DefinedOn(uuid string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var on []string
	for _, h := range f.hosts {
		if d := h.domains[uuid]; d != nil && d.def != "" {
			on = append(on, h.name)
		}
	}
	return on
}

// Moving says whether a libvirtd is at work on a migration of the domain.
func (f *Fleet) Moving(uuid string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.moves {
		if m.p.UUID == uuid {
			return true
		}
	}
	return false
}

// Up says whether the machine runs.
func (h *Host) Up() bool {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return h.up
}

// Answers says whether its libvirtd runs and is not frozen.
func (h *Host) Answers() bool {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return h.up && h.libvirtd && !h.frozen
}

// AutostartOn names the hosts whose libvirtd starts the domain by itself.
func (f *Fleet) AutostartOn(uuid string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var on []string
	for _, h := range f.hosts {
		if d := h.domains[uuid]; d != nil && d.def != "" && d.autostart {
			on = append(on, h.name)
		}
	}
	return on
}
