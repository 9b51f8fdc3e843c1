package agent

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// show says everything that this host knows about one domain. Where the kernel
// has said more than libvirt (a process has ended, libvirt has not noticed),
// the kernel's word goes.
func (c *Core) show(d *domain) *agentv1.Domain {
	out := &agentv1.Domain{
		Uuid: d.UUID, State: agentv1.DomainState_DOMAIN_STATE_NONE,
		Epoch: d.Epoch, Phase: phases[d.Phase], StartInProgress: len(d.Starts) > 0,
		Unclaimed: grounds[d.Unclaimed],
	}
	if d.known {
		c.showLibvirt(out, d)
	}
	if a := d.Attempt; a != nil {
		c.showAttempt(out, d, a)
	}
	return out
}

func (c *Core) showLibvirt(out *agentv1.Domain, d *domain) {
	s := d.seen
	out.Name, out.State, out.Reason = s.Name, state(s.Domain), string(s.Reason)
	out.Persistent, out.Autostart, out.ManagedSave = s.Persistent, s.Autostart, s.ManagedSave
	out.MemoryKib, out.Vcpus, out.Machine, out.CpuXml = s.MaxMemoryKiB, uint32(s.VCPUs), s.Machine, s.CPUXML
	for _, x := range s.Disks {
		if !x.Empty() {
			out.Disks = append(out.Disks, disk(x, slices.Contains(s.Local, x.Target)))
		}
	}
	for _, n := range s.NICs {
		switch {
		case n.Type == "network" && n.Network != "":
			out.Networks = append(out.Networks, n.Network)
		case n.Type == "bridge" && n.Bridge != "":
			out.Bridges = append(out.Bridges, n.Bridge)
		}
	}
	p := virt.Protect(s.Config, c.libvirt.facts.LockManager, c.libvirt.facts.LockManagerKnown)
	out.Lockable, out.LockManager = p.Protected, p.LockManager
	out.Blockers = blockers(s.Domain)
	if !s.Present() {
		return
	}
	out.Id = int32(s.ID)
	out.QemuPid, out.QemuStart = int32(s.Process.PID), s.Process.StartTime
	out.CpuTime = durationpb.New(time.Duration(s.CPUTimeNS))
	out.LiveAttempt = s.Attempt
	if s.Job.Active() {
		out.Job = job(s.Job)
	}
	if s.Paused() {
		out.Pause = c.pause(d)
		out.Complete = out.Pause == agentv1.Pause_PAUSE_UNSPECIFIED && arrived(s.Domain)
	}
}

// stranger says whether the process came with an attempt that the journal does not
// know, and the claim is not held here either. So it is after a journal was lost,
// or only an older copy of it is left: nobody can tell whether such a copy has run.
func (d *domain) stranger() bool {
	known := d.arrival() != nil && d.copyOf(d.Attempt.ID)
	if dep := d.leaving(); dep != nil { // what came with an earlier move leaves with this one
		known = known || d.Attempt.ID == d.seen.Attempt || d.original(dep)
	}
	return d.present() && d.seen.Attempt != "" && !known && !(d.Phase == journal.Held && d.Confirmed)
}

// pause says why a process is paused; of a stranger nobody can say.
func (c *Core) pause(d *domain) agentv1.Pause {
	dep, arr := d.leaving(), d.arrival()
	switch {
	case dep != nil && d.original(dep) && (dep.Stopped || d.seen.PausedByMove() && !dep.OwnerPaused):
		return agentv1.Pause_PAUSE_MOVE
	case arr != nil && d.Attempt.Stage != journal.Ended && d.copyOf(d.Attempt.ID) && !arr.Resumed:
		return agentv1.Pause_PAUSE_GUARD
	case d.seen.PausedByMove():
		return agentv1.Pause_PAUSE_MOVE
	case d.stranger():
		return agentv1.Pause_PAUSE_UNSPECIFIED
	}
	return agentv1.Pause_PAUSE_OWNER
}

func (c *Core) showAttempt(out *agentv1.Domain, d *domain, a *journal.Attempt) {
	out.Attempt, out.AttemptState, out.Role = a.ID, stages[a.Stage], roles[a.Role]
	if a.Stage == journal.Void {
		out.Call = agentv1.Call_CALL_ENDED
	}
	if arr := a.Arrival; arr != nil {
		// A stranger's copy is complete or not by itself, whatever the latest known attempt was.
		out.Complete = out.Complete || arr.Complete && d.copyOf(a.ID)
		out.CompleteAt, out.ResumedAt = stamp(arr.CompleteAt), stamp(arr.ResumedAt)
	}
	dep := a.Departure
	if dep == nil {
		return
	}
	out.Definition = dep.Definition
	if a.Stage != journal.Void {
		out.Call = calls[dep.Call]
	}
	out.CallError = dep.CallError
	out.Gone = gones[dep.Gone]
	out.StoppedAt, out.GoneAt = stamp(dep.StoppedAt), stamp(dep.GoneAt)
	ended := dep.Gone != "" || d.exit.ended
	if !ended || d.present() && !d.original(dep) {
		return
	}
	// The process has ended, and what libvirt shows is what it remembers.
	out.Id, out.QemuPid, out.QemuStart, out.Job = 0, 0, 0, nil
	out.CpuTime, out.Pause, out.LiveAttempt = nil, agentv1.Pause_PAUSE_UNSPECIFIED, ""
	if dep.OwnerPaused { // its copy stays as it left
		out.Pause = agentv1.Pause_PAUSE_OWNER
	}
	switch {
	case dep.Gone == "":
		out.State = agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED
	case d.known && d.seen.Persistent:
		out.State = agentv1.DomainState_DOMAIN_STATE_SHUTOFF
	default:
		out.State = agentv1.DomainState_DOMAIN_STATE_NONE
	}
}

// state says what runs; see the words of package virt.
func state(d virt.Domain) agentv1.DomainState {
	switch {
	case !d.Present():
		return agentv1.DomainState_DOMAIN_STATE_SHUTOFF
	case d.Reason == virt.ReasonPostCopy, d.Reason == virt.ReasonPostCopyFailed:
		return agentv1.DomainState_DOMAIN_STATE_POSTCOPY
	case d.State == virt.StateRunning:
		return agentv1.DomainState_DOMAIN_STATE_RUNNING
	case d.State == virt.StatePaused:
		return agentv1.DomainState_DOMAIN_STATE_PAUSED
	default:
		return agentv1.DomainState_DOMAIN_STATE_OTHER
	}
}

func disk(x virt.Disk, local bool) *agentv1.Disk {
	out := &agentv1.Disk{
		Target: x.Target, Type: x.Type, Source: x.Source, Format: x.Format,
		ReadOnly: x.ReadOnly, Shareable: x.Shared, Local: local,
	}
	if x.Protocol != "" {
		out.Source = x.Protocol + ":" + x.Source
		for i, h := range x.Hosts {
			if i == 0 {
				out.Source += "@" + h
			} else {
				out.Source += "," + h
			}
		}
	}
	return out
}

func job(j virt.Job) *agentv1.Job {
	return &agentv1.Job{
		Operation: operation(j.Operation),
		DataTotal: j.DataTotal, DataProcessed: j.DataProcessed, DataRemaining: j.DataRemaining,
		MemoryDirtyRate: j.DirtyRate * j.PageSize, MemoryBps: j.MemBps, Iteration: j.Iteration,
		Elapsed: durationpb.New(time.Duration(j.ElapsedMS) * time.Millisecond),
	}
}

// operation is the wire's name of what a job does.
func operation(o virt.Operation) string {
	switch o {
	case virt.OpMigrate:
		return "migration-out"
	case virt.OpMigrateIn:
		return "migration-in"
	}
	return string(o)
}

// blockers names what keeps a domain from being moved.
func blockers(d virt.Domain) []string {
	var out []string
	for _, h := range d.HostDevices {
		out = append(out, "host device "+h)
	}
	if d.Job.Active() && !d.Job.Migration() {
		out = append(out, "job "+string(d.Job.Operation))
	}
	if d.ManagedSave {
		out = append(out, "managed save image")
	}
	return out
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

var phases = map[journal.Phase]agentv1.ClaimPhase{
	journal.Held:         agentv1.ClaimPhase_CLAIM_PHASE_HELD,
	journal.Transferring: agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING,
	journal.Ambiguous:    agentv1.ClaimPhase_CLAIM_PHASE_AMBIGUOUS,
	journal.Released:     agentv1.ClaimPhase_CLAIM_PHASE_RELEASED,
}

var stages = map[journal.Stage]agentv1.AttemptState{
	journal.Prepared: agentv1.AttemptState_ATTEMPT_STATE_PREPARED,
	journal.Started:  agentv1.AttemptState_ATTEMPT_STATE_STARTED,
	journal.Ended:    agentv1.AttemptState_ATTEMPT_STATE_ENDED,
	journal.Void:     agentv1.AttemptState_ATTEMPT_STATE_VOID,
}

var roles = map[journal.Role]agentv1.Role{
	journal.Source: agentv1.Role_ROLE_SOURCE,
	journal.Target: agentv1.Role_ROLE_TARGET,
}

var gones = map[journal.Gone]agentv1.Gone{
	journal.ByTheMove:   agentv1.Gone_GONE_BY_THE_MOVE,
	journal.Otherwise:   agentv1.Gone_GONE_OTHERWISE,
	journal.NobodyKnows: agentv1.Gone_GONE_NOBODY_KNOWS,
}

var calls = map[journal.Call]agentv1.Call{
	journal.CallOut:   agentv1.Call_CALL_OUT,
	journal.CallEnded: agentv1.Call_CALL_ENDED,
}
