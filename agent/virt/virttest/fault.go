package virttest

import (
	"slices"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// What becomes of migrations when a process dies under them.

// outgoing is the migration that the domain's libvirtd drives; nil when none.
func (f *Fleet) outgoing(d *domain) *move {
	for _, m := range f.moves {
		if m.src == d && !m.settled {
			return m
		}
	}
	return nil
}

// incomingMove is the migration that brings the domain here; nil when none.
func (f *Fleet) incomingMove(d *domain) *move {
	for _, m := range f.moves {
		if m.dst == d && m.dstProc == d.proc {
			return m
		}
	}
	return nil
}

// libvirtdDied is what the death of a libvirtd means for the moves it drove. Its
// peers see their connections break in react.
func (f *Fleet) libvirtdDied(h *Host) {
	for _, c := range slices.Clone(h.conns) {
		if c.from == h {
			c.end("End of file while reading data: Input/output error", true)
		}
	}
	for _, m := range slices.Clone(f.moves) {
		switch {
		case m.phase == Returned: // it has failed, and the target is about to drop its copy
		case m.src.h == h:
			m.driverDied()
		case m.to == h && m.settled && m.phase == Finishing:
			m.finishInterrupted() // nobody is left whose connection breaks
		}
	}
}

// driverDied: the source's libvirtd is gone, with the call and the connection
// to the target.
func (m *move) driverDied() {
	m.t.release()
	m.done = nil // whoever waited lost the connection
	m.settled = true
	switch m.phase {
	case Finishing:
		// The target has it in its socket and does it; the source's copy stays
		// as it is for ever, see reconnected.
	case PostCopying:
		m.postCopyFailed(nil)
	case Preparing, Transferring, Stopped, Complete:
		m.halt()
		m.dropOrphan(0)
	default:
		m.halt()
		m.forget()
	}
	if p := m.src.proc; p != nil {
		p.job = virt.Job{}
		if p.state == virt.StatePaused && p.reason == virt.ReasonMigrating {
			m.src.h.recover(m.src, m.phase)
		}
	}
}

// recover says what the restarted libvirtd does with a source that it finds
// stopped: resume it, kill it, or leave it.
func (h *Host) recover(d *domain, phase Phase) {
	if h.found == nil {
		h.found = map[*proc]Phase{}
	}
	h.found[d.proc] = phase
}

// reconnected is a restarted libvirtd finding a running process.
func (f *Fleet) reconnected(d *domain) {
	phase, ok := d.h.found[d.proc]
	delete(d.h.found, d.proc)
	if !ok {
		return
	}
	switch phase {
	case Stopped, Preparing, Transferring:
		d.run(virt.ReasonMigrationCanceled, virt.DetailMigrated)
	case Confirmed:
		d.end(virt.DetailMigrated, virt.ReasonMigrated)
	case incoming:
		d.end(virt.DetailFailed, virt.ReasonFailed)
	case incomingPlain:
		d.proc.job = virt.Job{}
		d.run(virt.ReasonMigrated, virt.DetailMigrated)
	default:
		// Perform was through: libvirt waits for a Confirm that never comes.
	}
}

// What a target's libvirtd does with a copy when it is restarted.
const (
	incoming      Phase = "incoming"       // kill it
	incomingPlain Phase = "incoming-plain" // Finish had begun without the guard: let it run
)

// finishInterrupted: the target's libvirtd died with Finish in its socket.
func (m *move) finishInterrupted() {
	m.halt()
	if p := m.dst.proc; p != nil && p == m.dstProc {
		p.job = virt.Job{}
		how := incomingPlain
		if m.p.Guarded || m.wasPaused {
			how = incoming
		}
		m.to.recover(m.dst, how)
	}
	m.forget()
}

// lost: a host crashed. Its peers notice by keepalive, which is in react and
// the tethers; here only what was on the host itself is forgotten.
func (f *Fleet) lost(h *Host) {
	h.found = nil
	for _, m := range slices.Clone(f.moves) {
		switch {
		case m.to == h && m.settled:
			m.forget()
		case m.src.h == h:
			m.t.release()
			m.done, m.settled = nil, true
			switch m.phase {
			case Finishing: // it is in the target's socket and will be done
			case Finished, Confirmed, Exited:
				m.forget()
			case Returned: // it has failed, and the target is about to drop its copy
			case PostCopying:
				m.then(f.timing.KeepAlive, m.dstAnswers, func() { m.postCopyFailed(nil) })
			default:
				m.halt()
				m.dropOrphan(f.timing.KeepAlive)
			}
		}
	}
}

// processDied: a QEMU process was killed.
func (f *Fleet) processDied(d *domain) {
	out, in := f.outgoing(d), f.incomingMove(d)
	switch {
	case out != nil && out.srcProc == d.proc:
		d.end(virt.DetailFailed, virt.ReasonCrashed)
		out.sourceGone()
	case in != nil && !in.settled:
		d.end(virt.DetailFailed, virt.ReasonFailed)
		in.copyGone()
	default:
		d.end(virt.DetailFailed, virt.ReasonCrashed)
	}
}

// sourceGone: the source's process ended otherwise than by the move.
func (m *move) sourceGone() {
	err := refused("migrate", m.p.UUID, codeFailed, "operation failed: domain is no longer running")
	switch m.phase {
	case Preparing, Transferring, Stopped:
		m.fail(err)
	case PostCopying:
		m.postCopyFailed(err)
	default:
		// Memory was complete: Finish goes its way, and finds nothing to end.
	}
}

// copyGone: the target's process ended before the source gave the guest away.
func (m *move) copyGone() {
	err := refused("migrate", m.p.UUID, codeInternal, "internal error: QEMU unexpectedly closed the monitor")
	switch m.phase {
	case Preparing, Transferring, Stopped, Complete, Finishing:
		m.fail(err)
	case PostCopying:
		m.postCopyFailed(err)
	default:
	}
}

// abort is virDomainAbortJob.
func (m *move) abort() error {
	switch m.phase {
	case Preparing, Transferring, Stopped:
		m.fail(&virt.Error{Op: "migrate", On: m.p.UUID, Kind: virt.KindAborted, Code: codeAborted,
			Message: "operation aborted: migration out job: canceled by client"})
		return nil
	case PostCopying:
		return invalid("abort", m.p.UUID, "cannot abort migration in post-copy mode")
	default:
		return invalid("abort", m.p.UUID, "migration job is not active")
	}
}

// postCopy switches to post-copy.
func (m *move) postCopy() error {
	if !m.p.PostCopy {
		return invalid("postcopy", m.p.UUID, "post-copy can only be started with VIR_MIGRATE_POSTCOPY flag")
	}
	if m.phase != Transferring {
		return invalid("postcopy", m.p.UUID, "post-copy can only be started while outgoing migration is in progress")
	}
	m.stopped = m.f.now
	m.left += m.dirtied
	m.dirtied = 0
	m.src.pause(virt.ReasonPostCopy, virt.DetailPostCopy)
	m.dst.run(virt.ReasonPostCopy, virt.DetailPostCopy)
	m.enter(PostCopying)
	m.then(m.f.timing.Tick, always, m.tick)
	return nil
}

// postCopyFailed leaves both halves paused: neither has the whole guest, and
// nothing may destroy, resume or abort it.
func (m *move) postCopyFailed(err error) {
	m.halt()
	for _, half := range []struct {
		d *domain
		p *proc
	}{{m.src, m.srcProc}, {m.dst, m.dstProc}} {
		if half.d.proc == half.p && half.p != nil {
			half.p.job = virt.Job{}
			half.d.pause(virt.ReasonPostCopyFailed, virt.DetailPostCopyFailed)
		}
	}
	m.settle(err)
	m.forget()
}
