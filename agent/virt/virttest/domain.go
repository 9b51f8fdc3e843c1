package virttest

import (
	"fmt"
	"regexp"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// domain is what one libvirtd knows of one domain.
type domain struct {
	h           *Host
	uuid, name  string
	def         string // the persistent definition; "" for a transient domain
	autostart   bool
	managedSave bool
	saved       time.Duration // what its image's memory has seen
	offReason   virt.Reason   // of a domain that is shut off
	last        virt.Job      // the job that ended last
	proc        *proc         // nil when shut off

	memory, dirty uint64 // bytes and bytes/s, see SetLoad
}

// proc is one QEMU process.
type proc struct {
	id      int
	process virt.Process
	xml     string // live
	state   virt.State
	reason  virt.Reason
	ran     time.Duration
	job     virt.Job
	// memory is the time up to which its memory has seen the guest run; below 0
	// while it is still coming. revived: it ran on behind a newer life.
	memory  time.Duration
	revived bool
}

// view is what libvirt would answer about the domain.
func (d *domain) view() (virt.Domain, error) {
	doc := d.def
	if d.proc != nil {
		doc = d.proc.xml
	}
	v, known := d.h.f.documents[doc]
	if !known {
		var err error
		if v, err = virt.ParseDomain(doc); err != nil {
			return virt.Domain{}, err
		}
		d.h.f.documents[doc] = v
	}
	v.Persistent, v.Autostart, v.ManagedSave = d.def != "", d.autostart, d.managedSave
	if d.proc == nil {
		v.Attempt = "" // a definition's attempt is a leftover, no process's
		v.ID, v.State, v.Reason = virt.Inactive, virt.StateShutOff, d.offReason
		return v, nil
	}
	v.ID, v.State, v.Reason, v.Job = d.proc.id, d.proc.state, d.proc.reason, d.proc.job
	v.Process, v.CPUTimeNS = d.proc.process, uint64(d.proc.ran)
	return v, nil
}

// emit sends a lifecycle event.
func (d *domain) emit(event, detail string) {
	d.h.send(virt.Event{Kind: virt.EventLifecycle, UUID: d.uuid, Name: d.name, Event: event, Detail: detail})
}

// launch makes the process, paused, without events.
func (d *domain) launch(xml string, reason virt.Reason) {
	f := d.h.f
	f.pid++
	d.proc = &proc{
		id: d.h.nextID, process: virt.Process{PID: f.pid, StartTime: f.age()},
		xml: xml, state: virt.StatePaused, reason: reason, memory: -1,
	}
	d.h.nextID++
	delete(d.h.logged, d.name)
	f.changes++
}

// boot starts the domain as a user would, by way of the hook.
func (d *domain) boot(xml string, state virt.State) error {
	if d.managedSave {
		if err := d.h.call(d, "restore", "begin", xml); err != nil {
			return hookRefused("start", d.uuid, err)
		}
	}
	if err := d.h.call(d, "prepare", "begin", xml); err != nil {
		_ = d.h.call(d, "stopped", "end", xml)
		_ = d.h.call(d, "release", "end", xml)
		d.offReason = virt.ReasonFailed
		return hookRefused("start", d.uuid, err)
	}
	_ = d.h.call(d, "start", "begin", xml)
	_ = d.h.call(d, "started", "begin", xml)
	restored := d.managedSave
	d.managedSave = false
	d.launch(xml, virt.ReasonUser)
	how := virt.DetailBooted
	if restored {
		how = virt.DetailRestored
		d.proc.revived = d.saved < d.h.f.lastRun[d.uuid]
	}
	d.proc.memory, d.h.f.lastRun[d.uuid] = d.h.f.now, d.h.f.now
	if state == virt.StatePaused {
		d.emit(virt.Started, how)
		d.emit(virt.Suspended, virt.DetailPaused)
		return nil
	}
	d.h.f.changes++
	d.proc.state, d.proc.reason = virt.StateRunning, virt.ReasonBooted
	if restored {
		d.proc.reason = virt.ReasonRestored
	}
	d.emit(virt.Resumed, virt.DetailUnpaused) // libvirt's order: it runs before it has started
	d.emit(virt.Started, how)
	return nil
}

func (d *domain) pause(reason virt.Reason, detail string) {
	d.h.f.changes++
	d.proc.state, d.proc.reason = virt.StatePaused, reason
	d.emit(virt.Suspended, detail)
}

func (d *domain) run(reason virt.Reason, detail string) {
	d.h.f.changes++
	d.proc.revived = d.proc.revived || d.proc.memory < d.h.f.lastRun[d.uuid]
	// It may have run even if it ends at this very instant.
	d.proc.memory, d.h.f.lastRun[d.uuid] = d.h.f.now, d.h.f.now
	d.proc.state, d.proc.reason = virt.StateRunning, reason
	d.emit(virt.Resumed, detail)
}

// exit ends the process: the kernel tells whoever watches it. libvirtd learns
// of it in gone.
func (d *domain) exit() {
	d.h.f.changes++
	p := d.proc.process
	d.proc = nil
	d.h.exited(p)
}

// end ends the process and lets libvirtd say so.
func (d *domain) end(detail string, reason virt.Reason) {
	xml := d.proc.xml
	d.exit()
	d.gone(xml, detail, reason)
}

// logEnd is libvirtd's line in the domain's own log. Of several for one process
// the first tells why it ended.
func (d *domain) logEnd(reason virt.Reason) {
	if d.h.logged[d.name] == "" {
		d.h.logged[d.name] = reason
	}
}

// gone is libvirtd's part of an end: hooks, event, and a transient domain is
// forgotten.
func (d *domain) gone(xml, detail string, reason virt.Reason) {
	d.logEnd(reason)
	_ = d.h.call(d, "stopped", "end", xml)
	_ = d.h.call(d, "release", "end", xml)
	d.offReason = reason
	d.emit(virt.Stopped, detail)
	if d.def == "" {
		delete(d.h.domains, d.uuid)
	}
}

// define stores a definition; replaced says that there was one.
func (h *Host) define(xml string) (*domain, error) {
	v, err := virt.ParseDomain(xml)
	if err != nil {
		return nil, refused("define", "", codeXML, err.Error())
	}
	if v.Name == "" {
		return nil, refused("define", "", codeXML, "XML error: missing domain name")
	}
	if v.UUID == "" {
		h.f.uuid++
		v.UUID = fmt.Sprintf("11111111-0000-4000-8000-%012x", h.f.uuid)
		xml = regexp.MustCompile(`</name>`).ReplaceAllString(xml, "</name><uuid>"+v.UUID+"</uuid>")
	}
	if err := h.collides("define", v.UUID, v.Name, false); err != nil {
		return nil, err
	}
	d := h.domains[v.UUID]
	detail := "Updated"
	if d == nil {
		d = h.adopt(v)
	}
	if d.def == "" {
		detail = "Added"
	}
	d.def = xml
	d.emit(virt.Defined, detail)
	return d, nil
}

func (h *Host) adopt(v virt.Domain) *domain {
	d := &domain{h: h, uuid: v.UUID, name: v.Name, offReason: virt.ReasonUnknown,
		memory: v.MaxMemoryKiB << 10}
	h.domains[v.UUID] = d
	return d
}

// collides is libvirt's check of a name and UUID that come in.
func (h *Host) collides(op, uuid, name string, active bool) error {
	if d := h.domains[uuid]; d != nil {
		if d.name != name {
			return refused(op, uuid, codeFailed, fmt.Sprintf("operation failed: domain '%s' is already defined with uuid %s", d.name, uuid))
		}
		if active && d.proc != nil {
			return &virt.Error{Op: op, On: uuid, Kind: virt.KindOperationInvalid, Code: codeInvalid,
				Message: fmt.Sprintf("Requested operation is not valid: domain '%s' is already active", name)}
		}
		return nil
	}
	if d := h.byName(name); d != nil {
		return refused(op, uuid, codeFailed, fmt.Sprintf("operation failed: domain '%s' already exists with uuid %s", name, d.uuid))
	}
	return nil
}

// libvirt's error numbers, as far as the fake gives them.
const (
	codeInternal = 1
	codeXML      = 27
	codeFailed   = 9
	codeNoDomain = 42
	codeInvalid  = 55
	codeTimeout  = 68
	codeHook     = 70
	codeAborted  = 78
	codeUnsafe   = 81
)

func refused(op, on string, code int, message string) error {
	return &virt.Error{Op: op, On: on, Kind: virt.KindRefused, Code: code, Message: message}
}

func invalid(op, on, message string) error {
	return &virt.Error{Op: op, On: on, Kind: virt.KindOperationInvalid, Code: codeInvalid,
		Message: "Requested operation is not valid: " + message}
}

func noDomain(op, on string) error {
	return &virt.Error{Op: op, On: on, Kind: virt.KindNoDomain, Code: codeNoDomain,
		Message: fmt.Sprintf("Domain not found: no domain with matching uuid '%s'", on)}
}

func hookRefused(op, on string, err error) error {
	return refused(op, on, codeHook, "Hook script execution failed: internal error: Child process (/etc/libvirt/hooks/qemu) unexpected exit status 1: "+err.Error())
}
