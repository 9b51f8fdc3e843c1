package virttest

import (
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Phase is how far a migration is; breakpoints stand between two of them.
type Phase string

// The phases, in order.
const (
	Preparing    Phase = "preparing"    // the source has begun, the target knows nothing
	Transferring Phase = "transferring" // the target's QEMU waits, memory goes over
	PostCopying  Phase = "post-copying" // the target runs, the rest goes over
	Stopped      Phase = "stopped"      // the source's vCPUs stand still for the last pass
	Complete     Phase = "complete"     // all memory is on the target; the source's libvirt says Finish next
	Finishing    Phase = "finishing"    // Finish is in the target's socket
	Finished     Phase = "finished"     // the target has done it; its answer comes next
	Confirmed    Phase = "confirmed"    // the answer is there, the source's QEMU is about to end
	Exited       Phase = "exited"       // the source's QEMU has ended, the call has not returned
	Returned     Phase = "returned"
)

type breakpoint struct {
	uuid  string
	phase Phase
}

// At calls do once, when the next migration of that domain has entered the
// phase, and before anything else happens.
func (f *Fleet) At(uuid string, phase Phase, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks[breakpoint{uuid, phase}] = do
}

// LoseFinish loses the target's answer to Finish in the migration that is under
// way: its libvirtd did the work, the source's gives up the connection.
func (f *Fleet) LoseFinish(uuid string) { f.changeMove(uuid, func(m *move) { m.loseReply = true }) }

// KeepSource lets the last step of the migration that is under way fail on the
// source: its QEMU stays, stopped by the move, and the call returns without an
// error all the same.
func (f *Fleet) KeepSource(uuid string) { f.changeMove(uuid, func(m *move) { m.keepSource = true }) }

// Stall stops the transfer of the migration that is under way, or lets it go on.
func (f *Fleet) Stall(uuid string, on bool) { f.changeMove(uuid, func(m *move) { m.stalled = on }) }

func (f *Fleet) changeMove(uuid string, do func(*move)) {
	f.change(func() {
		for _, m := range f.moves {
			if m.p.UUID == uuid {
				do(m)
			}
		}
	})
}

// move is one migration, driven by the source's libvirt.
type move struct {
	f        *Fleet
	p        virt.MigrateParams
	src, dst *domain // dst is nil until the target has prepared
	srcProc  *proc   // the process that moves: another one may follow it
	dstProc  *proc
	to       *Host
	t        *tether // the source's libvirtd's connection to the target's
	phase    Phase
	step     int           // grows with each step, so that an old timer knows that it is old
	ready    func() bool   // what the next step waits for
	next     func()        // the next step; nil when none is due
	done     []func(error) // who waits for the call
	settled  bool          // the source's libvirtd is through with it

	transfer
	wasPaused bool
	loseReply bool
	// keepSource: the confirmation fails, and nobody is told.
	keepSource bool
}

// transfer is the memory's way: sizes in bytes.
type transfer struct {
	started, stopped time.Duration
	lastTick         time.Duration
	left             uint64 // of this pass
	dirtied          uint64 // since this pass began
	sent             uint64 // in all
	iteration        uint64
	throttle         int // percent
	bandwidth        uint64
	downtimeLimit    time.Duration
	stalled          bool
}

// begin is virDomainMigratePerform3 arriving at the source's libvirtd.
func (f *Fleet) begin(h *Host, p virt.MigrateParams, done func(error)) error {
	if err := p.Validate(); err != nil {
		return err
	}
	d := h.domains[p.UUID]
	switch {
	case d == nil:
		return noDomain("migrate", p.UUID)
	case d.proc == nil:
		return invalid("migrate", p.UUID, "domain is not running")
	case d.proc.job.Active():
		return jobInTheWay("migrate", p.UUID, d.proc.job)
	}
	to := f.resolve(h, p.DestURI)
	if to == nil {
		return refused("migrate", p.UUID, codeInternal, "unable to connect to server at '"+p.DestURI+"'")
	}
	if to == h {
		return refused("migrate", p.UUID, codeInternal, "internal error: Attempt to migrate guest to the same host "+h.info.UUID)
	}
	if p.DestXML != "" {
		if v, err := virt.ParseDomain(p.DestXML); err != nil || v.UUID != p.UUID {
			return refused("migrate", p.UUID, codeXML, "unsupported configuration: target domain uuid does not match source")
		}
	}
	m := &move{f: f, p: p, src: d, srcProc: d.proc, to: to, done: []func(error){done},
		wasPaused: d.proc.state == virt.StatePaused,
		transfer: transfer{started: f.now, lastTick: f.now, left: d.memory, iteration: 1,
			bandwidth: f.timing.Bandwidth, downtimeLimit: f.timing.Downtime}}
	if p.BandwidthMiBs > 0 {
		m.bandwidth = min(m.bandwidth, p.BandwidthMiBs<<20)
	}
	m.t = f.tie(h, to, m.peerLost)
	d.proc.job = virt.Job{Type: virt.JobUnbounded, Operation: virt.OpMigrate}
	f.moves = append(f.moves, m)
	m.enter(Preparing)
	m.then(f.timing.Prepare, m.peerAnswers, m.prepare)
	m.t.check()
	return nil
}

func (m *move) enter(p Phase) {
	m.phase = p
	m.f.changes++
	at := breakpoint{m.p.UUID, p}
	if do := m.f.breaks[at]; do != nil {
		delete(m.f.breaks, at)
		m.f.post(do)
	}
}

// then does the next step after a time, as soon as it can be done.
func (m *move) then(d time.Duration, ready func() bool, do func()) {
	m.step++
	m.next = nil
	mine := m.step
	m.f.after(d, func() {
		if m.step == mine {
			m.ready, m.next = ready, do
			m.retry()
		}
	})
}

func (m *move) retry() {
	if m.next == nil || !m.ready() {
		return
	}
	do := m.next
	m.next = nil
	m.step++
	do()
}

func (m *move) halt() { m.step++; m.next = nil }

func (m *move) srcAnswers() bool   { h := m.src.h; return h.up && h.libvirtd && !h.frozen }
func (m *move) dstAnswers() bool   { return m.to.up && m.to.libvirtd && !m.to.frozen }
func (m *move) peerAnswers() bool  { return m.srcAnswers() && m.t.answers() }
func (m *move) peerDelivers() bool { return m.srcAnswers() && m.t.delivers() }

// prepare is the target's part before memory can come.
func (m *move) prepare() { m.consult("migrate", "prepare") }

// consult asks the target's hook about one operation after the other, and goes on
// when it has agreed to all.
func (m *move) consult(operations ...string) {
	xml := m.p.DestXML
	if xml == "" {
		xml = m.srcProc.xml
	}
	v, err := virt.ParseDomain(xml)
	if err == nil {
		err = m.to.collides("migrate", v.UUID, v.Name, true)
	}
	if err != nil {
		m.fail(err)
		return
	}
	if len(operations) == 0 {
		m.receive(v, xml)
		return
	}
	op, rest := operations[0], operations[1:]
	answered := func(err error) {
		if err != nil {
			m.fail(hookRefused("migrate", m.p.UUID, err))
			return
		}
		m.consult(rest...)
	}
	if m.to.asker == nil {
		if m.to.hook != nil {
			err = m.to.hook(v.Name, op, "begin", xml)
		}
		answered(err)
		return
	}
	m.halt()
	mine, asker := m.step, m.to.asker
	m.f.post(func() {
		asker(v.Name, op, xml, func(err error) {
			m.f.change(func() {
				if m.step == mine {
					m.step++
					answered(err)
				}
			})
		})
	})
}

// receive starts the target's QEMU.
func (m *move) receive(v virt.Domain, xml string) {
	d := m.to.domains[v.UUID]
	if d == nil {
		d = m.to.adopt(v)
		d.memory, d.dirty = m.src.memory, m.src.dirty
	}
	_ = m.to.call(d, "start", "begin", xml)
	d.launch(xml, virt.ReasonMigrating)
	d.proc.job = virt.Job{Type: virt.JobUnbounded, Operation: virt.OpMigrateIn}
	_ = m.to.call(d, "started", "begin", xml)
	m.dst, m.dstProc = d, d.proc
	d.emit(virt.Started, virt.DetailMigrated) // before any memory has come
	m.lastTick = m.f.now
	m.enter(Transferring)
	m.iterates()
	m.then(m.f.timing.Tick, always, m.tick)
}

func always() bool { return true }

// flows says that memory can go from QEMU to QEMU: no libvirtd is needed.
func (m *move) flows() bool {
	return !m.stalled && m.src.h.up && m.to.up && !m.f.cuts[link{m.src.h, m.to}]
}

// tick transfers memory for the time since the last one.
func (m *move) tick() {
	dt := m.f.now - m.lastTick
	m.lastTick = m.f.now
	if m.flows() {
		n := min(bytesIn(m.bandwidth, dt), m.left)
		m.left -= n
		m.sent += n
	}
	if m.src.proc.state == virt.StateRunning {
		m.dirtied = min(m.dirtied+bytesIn(m.src.dirty*uint64(100-m.throttle)/100, dt), m.src.memory)
	}
	m.report()
	if m.left > 0 || !m.flows() {
		m.then(m.f.timing.Tick, always, m.tick)
		return
	}
	if m.phase == PostCopying {
		m.then(0, m.peerDelivers, m.finish)
		return
	}
	if m.dirtied > bytesIn(m.bandwidth, m.downtimeLimit) {
		m.left, m.dirtied = m.dirtied, 0
		m.iteration++
		if m.p.AutoConverge && m.iteration > 2 {
			m.throttle = min(99, m.throttle+max(10, m.p.AutoConvergeIncrement))
		}
		m.iterates()
		m.then(m.f.timing.Tick, always, m.tick)
		return
	}
	// QEMU stops by itself; libvirt hears of it as soon as it listens again.
	m.stopped = m.f.now
	if !m.wasPaused {
		m.src.pause(virt.ReasonMigrating, virt.DetailMigrated)
	}
	m.iteration++
	m.iterates()
	m.enter(Stopped)
	m.then(m.f.timing.Switch, func() bool { return m.srcAnswers() && m.flows() }, m.complete)
}

func bytesIn(rate uint64, d time.Duration) uint64 {
	return uint64(float64(rate) * d.Seconds())
}

// iterates says that QEMU begins another pass.
func (m *move) iterates() {
	m.src.h.send(virt.Event{Kind: virt.EventIteration, UUID: m.src.uuid, Name: m.src.name, Iteration: int(m.iteration)})
}

func (m *move) report() {
	if !m.srcAnswers() {
		return
	}
	j := &m.src.proc.job
	j.ElapsedMS = uint64((m.f.now - m.started) / time.Millisecond)
	j.MemTotal, j.DataTotal = m.src.memory, m.src.memory
	j.MemProcessed, j.DataProcessed = m.sent, m.sent
	j.MemRemaining, j.DataRemaining = m.left, m.left
	j.MemBps, j.PageSize, j.Iteration, j.Throttle = m.bandwidth, 4096, m.iteration, m.throttle
	j.DirtyRate = m.src.dirty / 4096
	j.DowntimeMS = uint64(m.downtimeLimit / time.Millisecond)
}

// complete is the end of the source's Perform: from here on its libvirt neither
// resumes nor kills the guest by itself after a restart.
func (m *move) complete() {
	m.dstProc.memory = m.srcProc.memory
	m.enter(Complete)
	m.then(0, m.peerDelivers, m.finish)
}

// finish puts the Finish message into the target's socket.
func (m *move) finish() {
	m.enter(Finishing)
	m.then(m.f.timing.Finish, m.dstAnswers, m.finished)
}

// finished is the target's Finish.
func (m *move) finished() {
	d := m.dst
	if d.proc != m.dstProc { // it was killed in the meantime, and nobody waits
		m.forget()
		return
	}
	d.proc.job = virt.Job{}
	if m.p.Persist {
		def := m.p.PersistXML
		if def == "" {
			def = m.src.def
		}
		if def == "" {
			def = m.srcProc.xml
		}
		detail := "Updated"
		if d.def == "" {
			detail = "Added"
		}
		d.def = def
		d.emit(virt.Defined, detail)
	}
	switch {
	case m.p.Guarded || m.wasPaused:
		d.pause(virt.ReasonUser, virt.DetailPaused)
	default:
		d.run(virt.ReasonMigrated, virt.DetailMigrated)
	}
	d.last = m.result()
	d.last.Operation = virt.OpMigrateIn
	m.enter(Finished)
	if m.settled { // the source gave up before: nobody waits for this answer
		m.forget()
		return
	}
	if m.loseReply {
		m.t.break_("End of file while reading data: Input/output error")
		return
	}
	m.then(0, m.peerDelivers, m.confirm)
}

func (m *move) result() virt.Job {
	return virt.Job{
		Type: virt.JobCompleted, Operation: virt.OpMigrate, MemTotal: m.src.memory, DataTotal: m.src.memory,
		MemProcessed: m.sent, DataProcessed: m.sent, Iteration: m.iteration, Throttle: m.throttle, PageSize: 4096,
		ElapsedMS:  uint64((m.f.now - m.started) / time.Millisecond),
		DowntimeMS: uint64((m.f.now - m.stopped) / time.Millisecond),
	}
}

// confirm is the source's last part: end its own QEMU.
func (m *move) confirm() {
	m.enter(Confirmed)
	m.then(m.f.timing.Exit, m.srcAnswers, m.exit)
}

func (m *move) exit() {
	if m.keepSource && m.src.proc == m.srcProc {
		m.f.changes++
		m.srcProc.job = virt.Job{}
		m.settle(nil)
		m.enter(Returned)
		m.forget()
		return
	}
	m.src.last = m.result()
	if m.src.proc == m.srcProc {
		m.src.end(virt.DetailMigrated, virt.ReasonMigrated)
	}
	m.enter(Exited)
	m.then(m.f.timing.Return-m.f.timing.Exit, m.srcAnswers, m.succeed)
}

func (m *move) succeed() {
	s := m.src
	s.h.send(virt.Event{Kind: virt.EventJobDone, UUID: s.uuid, Name: s.name, Job: s.last})
	if m.p.Persist && s.def != "" {
		s.forgetDefinition() // also under a guest that was started here a moment ago; no event says so
	}
	m.enter(Returned)
	m.settle(nil)
	m.forget()
}

// settle gives the call its result, once.
func (m *move) settle(err error) {
	if m.settled {
		return
	}
	m.settled = true
	for _, d := range m.done {
		m.f.post(func() { d(err) })
	}
	m.done = nil
}

func (m *move) forget() {
	m.halt()
	m.t.release()
	m.f.changes++
	m.f.moves = slices.DeleteFunc(m.f.moves, func(x *move) bool { return x == m })
}
