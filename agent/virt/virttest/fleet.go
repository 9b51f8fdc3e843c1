package virttest

import (
	"container/heap"
	"sync"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Timing is how long the fake's libvirt and QEMU take.
type Timing struct {
	Prepare   time.Duration // until the target's QEMU listens
	Tick      time.Duration // step of a transfer
	Switch    time.Duration // from the source's stop to all memory on the target
	Finish    time.Duration // the target's last step
	Exit      time.Duration // from the target's answer to the end of the source's QEMU
	Return    time.Duration // from the target's answer to the call's return
	KeepAlive time.Duration // after which a silent libvirtd is given up
	Downtime  time.Duration // QEMU's default downtime limit
	Bandwidth uint64        // bytes/s of one stream
}

// Measured is what was measured in the lab, keepalive at its default.
var Measured = Timing{
	Prepare: 300 * time.Millisecond, Tick: 10 * time.Millisecond, Switch: 30 * time.Millisecond,
	Finish: 5 * time.Millisecond, Exit: 35 * time.Millisecond, Return: 220 * time.Millisecond,
	KeepAlive: 30 * time.Second, Downtime: 300 * time.Millisecond, Bandwidth: 100 << 20,
}

// Fleet is a set of hosts in one virtual time. All methods may be called from
// many goroutines; a test that wants a reproducible order uses one.
type Fleet struct {
	timing  Timing
	unheard unheard

	mu     sync.Mutex // guards all below and everything reachable from it
	now    time.Duration
	timers timers
	order  uint64
	hosts  []*Host
	cuts   map[link]bool
	ties   []*tether
	moves  []*move
	breaks map[breakpoint]func()
	pid    int
	uuid   uint64
	truth

	// Callbacks leave through here: in order, one at a time, with mu free.
	outbox    []func()
	delivered uint64 // callbacks that have returned
	queued    uint64 // callbacks ever queued
	draining  bool
	drained   *sync.Cond // on mu
}

type link struct{ a, b *Host }

// Option changes a Fleet as it is made.
type Option func(*Fleet)

// unheard is what becomes of calls that a libvirtd does not answer.
type unheard struct {
	fails    bool          // at once
	patience time.Duration // ends them; 0: only their context does
}

// WithTiming replaces Measured.
func WithTiming(t Timing) Option { return func(f *Fleet) { f.timing = t } }

// WithoutWaiting lets calls to a frozen or unreachable libvirtd fail with
// IsTimeout at once instead of blocking until their context ends: for drivers
// that have one thread.
func WithoutWaiting() Option { return func(f *Fleet) { f.unheard.fails = true } }

// WithPatience ends calls that a libvirtd does not answer after d of the
// fleet's time, as the real door does: for callers that set no deadline.
func WithPatience(d time.Duration) Option { return func(f *Fleet) { f.unheard.patience = d } }

// NewFleet returns a fleet with one host per name, booted, with its libvirtd.
func NewFleet(names []string, opts ...Option) *Fleet {
	f := &Fleet{timing: Measured, cuts: map[link]bool{}, breaks: map[breakpoint]func(){}, pid: 1000,
		truth: truth{lastRun: map[string]time.Duration{}, documents: map[string]virt.Domain{}}}
	f.drained = sync.NewCond(&f.mu)
	for _, o := range opts {
		o(f)
	}
	for i, n := range names {
		f.hosts = append(f.hosts, newHost(f, n, i))
	}
	return f
}

// Host returns the host of that name; nil when there is none.
func (f *Fleet) Host(name string) *Host {
	for _, h := range f.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Now is the virtual time since the fleet was made.
func (f *Fleet) Now() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Next is the time of the next change that would happen by itself; false when
// nothing is under way.
func (f *Fleet) Next() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.timers) == 0 {
		return 0, false
	}
	return f.timers[0].at, true
}

// Advance lets d pass. Whatever is due happens in order, and callbacks of one
// change have run before the next change.
func (f *Fleet) Advance(d time.Duration) {
	f.mu.Lock()
	until := f.now + d
	f.mu.Unlock()
	for f.step(until) {
		f.flush()
	}
	f.flush()
}

func (f *Fleet) step(until time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.timers) == 0 || f.timers[0].at > until {
		f.elapse(until)
		return false
	}
	t := heap.Pop(&f.timers).(timer)
	f.elapse(t.at)
	t.fire()
	return true
}

// elapse moves the clock and lets running guests use their CPUs.
func (f *Fleet) elapse(to time.Duration) {
	if to <= f.now {
		return
	}
	for _, h := range f.hosts {
		for _, d := range h.domains {
			if d.proc != nil && d.proc.state == virt.StateRunning {
				d.proc.ran += to - f.now
				d.proc.memory, f.lastRun[d.uuid] = to, to
			}
		}
	}
	f.now = to
}

// after calls fire in d, with mu held.
func (f *Fleet) after(d time.Duration, fire func()) {
	f.order++
	heap.Push(&f.timers, timer{f.now + d, f.order, fire})
}

// post queues a callback; mu is held.
func (f *Fleet) post(callback func()) {
	f.queued++
	f.outbox = append(f.outbox, callback)
}

// flush runs what is queued, unless somebody is at it. mu is free.
func (f *Fleet) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining {
		return
	}
	f.draining = true
	for len(f.outbox) > 0 {
		next := f.outbox[0]
		f.outbox = f.outbox[1:]
		f.mu.Unlock()
		next()
		f.mu.Lock()
		f.delivered++
		f.drained.Broadcast()
	}
	f.draining = false
}

// barrier returns when all that is queued now has been delivered.
func (f *Fleet) barrier() {
	f.flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	for upTo := f.queued; f.delivered < upTo; {
		f.drained.Wait()
	}
}

// RunningOn names the hosts on which the domain's vCPUs may execute: the truth,
// whatever any libvirtd says. More than one is what must never be.
func (f *Fleet) RunningOn(uuid string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var on []string
	for _, h := range f.hosts {
		if d := h.domains[uuid]; d != nil && d.proc != nil && d.proc.state != virt.StatePaused {
			on = append(on, h.name)
		}
	}
	return on
}

// Cut cuts the network between two hosts, in both directions.
func (f *Fleet) Cut(a, b *Host) {
	f.change(func() { f.cuts[link{a, b}], f.cuts[link{b, a}] = true, true })
}

// Mend undoes Cut.
func (f *Fleet) Mend(a, b *Host) {
	f.change(func() { delete(f.cuts, link{a, b}); delete(f.cuts, link{b, a}) })
}

// change makes a change from outside and lets everything react to it.
func (f *Fleet) change(do func()) {
	f.mu.Lock()
	do()
	f.react()
	f.mu.Unlock()
	f.flush()
}

// react looks at every connection and every waiting step again; mu is held.
func (f *Fleet) react() {
	for _, t := range append([]*tether(nil), f.ties...) {
		t.check()
	}
	for _, m := range append([]*move(nil), f.moves...) {
		m.retry()
	}
}

type timer struct {
	at    time.Duration
	order uint64
	fire  func()
}

type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].order < t[j].order
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

// tether is a connection from a process on one host to a libvirtd: it breaks
// at once when that libvirtd dies, and after the keepalive when it is silent.
type tether struct {
	f        *Fleet
	from, to *Host
	boot     int // of the libvirtd that it was made to
	silent   bool
	silences int // counts, so that an old keepalive timer knows that it is old
	cut      bool
	broken   func(reason string)
	again    func() // it answers again; nil when nobody wants to know
}

func (f *Fleet) tie(from, to *Host, broken func(string)) *tether {
	t := &tether{f: f, from: from, to: to, boot: to.libvirtdBoots, broken: broken}
	f.ties = append(f.ties, t)
	return t
}

// dead says that the other end's process is gone and its host says so.
func (t *tether) dead() bool {
	return t.to.up && !t.f.cuts[link{t.from, t.to}] && (!t.to.libvirtd || t.to.libvirtdBoots != t.boot)
}

// answers says that a request would be answered now.
func (t *tether) answers() bool {
	return !t.cut && t.from.up && t.to.up && t.to.libvirtd && t.to.libvirtdBoots == t.boot &&
		!t.to.frozen && !t.f.cuts[link{t.from, t.to}]
}

// delivers says that what is sent reaches the other end's socket.
func (t *tether) delivers() bool {
	return !t.cut && t.from.up && t.to.up && t.to.libvirtd && t.to.libvirtdBoots == t.boot &&
		!t.f.cuts[link{t.from, t.to}]
}

func (t *tether) check() {
	switch {
	case t.cut:
	case t.dead() || !t.from.up:
		t.break_("End of file while reading data: Input/output error")
	case t.answers():
		t.silent = false
		if t.again != nil {
			t.again()
		}
	case !t.silent:
		t.silent = true
		t.silences++
		mine := t.silences
		t.f.after(t.f.timing.KeepAlive, func() {
			if t.silent && t.silences == mine {
				t.break_("connection closed due to keepalive timeout")
				t.f.react()
			}
		})
	}
}

// break_ ends the connection as seen from its from side.
func (t *tether) break_(reason string) {
	if !t.release() {
		return
	}
	if t.broken != nil {
		t.broken(reason)
	}
}

// release forgets the connection without calling anybody.
func (t *tether) release() bool {
	if t.cut {
		return false
	}
	t.cut, t.silent = true, false
	for i, x := range t.f.ties {
		if x == t {
			t.f.ties = append(t.f.ties[:i:i], t.f.ties[i+1:]...)
			break
		}
	}
	return true
}
