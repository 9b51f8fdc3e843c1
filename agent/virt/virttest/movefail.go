package virttest

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// fail ends a move whose guest never left the source.
func (m *move) fail(err error) {
	m.t.release()
	m.sourceBack()
	m.settle(err)
	m.enter(Returned)
	m.dropCopy()
}

// sourceBack ends the source's job and lets its guest run on.
func (m *move) sourceBack() {
	p := m.src.proc
	if p == nil || p != m.srcProc {
		return
	}
	p.job = virt.Job{}
	m.src.last = virt.Job{Type: virt.JobFailed, Operation: virt.OpMigrate}
	if p.state == virt.StatePaused && p.reason == virt.ReasonMigrating {
		m.src.run(virt.ReasonMigrationCanceled, virt.DetailMigrated)
	}
}

// dropCopy lets the target kill its copy as soon as its libvirtd notices.
func (m *move) dropCopy() {
	m.dropCopyAfter(0, func() { m.dst.end(virt.DetailFailed, virt.ReasonFailed) })
}

// dropOrphan is dropCopy for a copy whose source's libvirtd has died: the target
// finds the connection closed and destroys what came by it.
func (m *move) dropOrphan(after time.Duration) {
	m.dropCopyAfter(after, func() {
		m.dst.emit(virt.Shutdown, "On host request")
		m.dst.end(virt.DetailDestroyed, virt.ReasonDestroyed)
	})
}

func (m *move) dropCopyAfter(d time.Duration, drop func()) {
	if m.dst == nil || m.dst.proc != m.dstProc {
		m.forget()
		return
	}
	m.then(d, m.dstAnswers, func() {
		if m.dst.proc == m.dstProc {
			drop()
		}
		m.forget()
	})
}

// peerLost is the source's libvirtd losing its connection to the target's.
func (m *move) peerLost(reason string) {
	err := refused("migrate", m.p.UUID, codeFailed, fmt.Sprintf("operation failed: Lost connection to destination host: %s", reason))
	switch m.phase {
	case Preparing, Transferring, Stopped, Complete:
		m.fail(err)
	case PostCopying:
		m.postCopyFailed(err)
	case Finishing:
		// Finish is in the socket of a libvirtd that is silent, or the answer
		// is lost: the source resumes, whatever the target will do.
		m.sourceBack()
		m.settle(err)
		if m.to.up && m.to.libvirtd && m.t.boot == m.to.libvirtdBoots {
			return // it will read it
		}
		m.finishInterrupted()
	case Finished:
		m.halt()
		m.sourceBack()
		m.settle(err)
		m.forget()
	case Confirmed, Exited, Returned:
	}
}
