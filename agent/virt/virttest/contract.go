package virttest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// Side is one host of a Bench.
type Side struct {
	Open  virt.Opener
	URI   string // its libvirtd, for Open
	Peer  string // its libvirtd, for the other side's libvirtd
	Exits virt.Exits
	// RestartLibvirtd kills libvirtd and starts it again; guests run on.
	RestartLibvirtd func()
	// Freeze stops libvirtd (SIGSTOP), Thaw lets it go on.
	Freeze, Thaw func()
	// KillQEMU kills the process of the domain with that name.
	KillQEMU func(name string)
}

// Bench is a pair of hosts that can move guests to each other, both empty. Their
// libvirtds give up on a silent peer after some seconds, less than ten.
type Bench struct {
	A, B Side
	// Guest is the XML of a small domain that both hosts can run, with a
	// <title> and without <metadata>.
	Guest func(name, uuid string) string
	// Busy gives the started domain enough memory to transfer that a move at
	// SlowMiBs takes some seconds; nil when Guest's XML does that.
	Busy     func(uuid string)
	SlowMiBs uint64
	// Wait lets time pass.
	Wait func(time.Duration)
}

// Contract is what every libvirt behind virt.Conn does. run starts one subtest
// with a bench of its own, or an emptied one.
func Contract(t *testing.T, run func(t *testing.T, name string, test func(*testing.T, Bench))) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"host", testHost},
		{"definitions", testDefinitions},
		{"lifecycle", testLifecycle},
		{"expectations of destroy", testDestroy},
		{"events and barrier", testBarrier},
		{"guarded move", testGuardedMove},
		{"direct move", testDirectMove},
		{"move of a paused guest", testPausedMove},
		{"move of a transient guest", testTransientMove},
		{"move there and back", testThereAndBack},
		{"abort in mid-move", testAbort},
		{"refused: name taken", testNameTaken},
		{"refused: already there", testAlreadyThere},
		{"refused: unreachable peer", testUnreachable},
		{"refused: parameters", testParameters},
		{"what a move leaves of a shut-off definition", testMoveOverDefinition},
		{"restart of libvirtd", testRestart},
		{"closed connection", testClosed},
		{"target's libvirtd frozen, guarded", func(_ *testing.T, x *bench) { testFrozenPeer(x, true) }},
		{"target's libvirtd frozen, plain", func(_ *testing.T, x *bench) { testFrozenPeer(x, false) }},
		{"target's libvirtd killed", testPeerKilled},
		{"source's libvirtd killed", testDriverKilled},
		{"source's QEMU killed", testSourceKilled},
		{"target's QEMU killed", testCopyKilled},
	} {
		run(t, c.name, func(t *testing.T, b Bench) { c.test(t, newBench(t, b)) })
	}
}

const (
	guestName = "contract-1"
	guestUUID = "7d3a0c44-0001-4b60-9f1c-5a6e0f6a1c01"
	otherUUID = "7d3a0c44-0002-4b60-9f1c-5a6e0f6a1c02"
	attemptID = "01J9-contract-attempt"
)

// bench is a Bench with a connection and a log of events on each side.
type bench struct {
	*testing.T
	Bench
	a, b         virt.Conn
	seenA, seenB *log
}

func newBench(t *testing.T, b Bench) *bench {
	x := &bench{T: t, Bench: b, seenA: &log{}, seenB: &log{}}
	x.a, x.b = x.open(b.A, x.seenA.add), x.open(b.B, x.seenB.add)
	x.Cleanup(func() { x.Logf("A saw %v; B saw %v", x.seenA.short(), x.seenB.short()) })
	return x
}

func (x *bench) open(s Side, sink virt.Sink) virt.Conn {
	x.Helper()
	c, err := s.Open(x.ctx(), s.URI, sink)
	if err != nil {
		x.Fatalf("open %s: %v", s.URI, err)
	}
	x.Cleanup(func() { _ = c.Close() })
	return c
}

// ctx is one call's: without a deadline, so the implementation's own one holds.
func (x *bench) ctx() context.Context { return x.Context() }

func (x *bench) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// until waits for a condition, 20 s at most.
func (x *bench) until(what string, cond func() bool) {
	x.Helper()
	const step = 10 * time.Millisecond
	for range int(20 * time.Second / step) {
		if cond() {
			return
		}
		x.Wait(step)
	}
	x.Fatalf("gave up waiting until %s\nA saw %v\nB saw %v", what, x.seenA.short(), x.seenB.short())
}

func (x *bench) domain(c virt.Conn, uuid string) virt.Domain {
	x.Helper()
	d, err := c.Domain(x.ctx(), uuid)
	x.must(err)
	return d
}

// absent checks that the host knows no such domain.
func (x *bench) absent(c virt.Conn, uuid, where string) {
	x.Helper()
	if d, err := c.Domain(x.ctx(), uuid); !virt.IsNoDomain(err) {
		x.Fatalf("%s on %s: %+v, %v; want no domain", uuid, where, d, err)
	}
	all, err := c.Domains(x.ctx())
	x.must(err)
	if slices.ContainsFunc(all, func(d virt.Domain) bool { return d.UUID == uuid }) {
		x.Fatalf("%s is on the list of %s", uuid, where)
	}
}

// start defines and boots the guest on A.
func (x *bench) start() virt.Domain {
	x.Helper()
	uuid, err := x.a.Define(x.ctx(), x.Guest(guestName, guestUUID))
	x.must(err)
	if uuid != guestUUID {
		x.Fatalf("defined %s as %s", guestUUID, uuid)
	}
	x.must(x.a.Start(x.ctx(), guestUUID))
	if x.Busy != nil {
		x.Busy(guestUUID)
	}
	return x.domain(x.a, guestUUID)
}

// params is a guarded move of the guest from A to B.
func (x *bench) params() virt.MigrateParams {
	x.Helper()
	live, err := x.a.XML(x.ctx(), guestUUID, virt.XMLFlags{Migratable: true})
	x.must(err)
	dest, err := virt.DestXML(live, attemptID)
	x.must(err)
	return virt.MigrateParams{UUID: guestUUID, DestURI: x.B.Peer, DestXML: dest, Guarded: true, Persist: true}
}

// migrate starts a move on a connection of its own; the result comes by chan.
func (x *bench) migrate(p virt.MigrateParams) <-chan error {
	x.Helper()
	c := x.open(x.A, nil)
	out := make(chan error, 1)
	go func() { out <- c.Migrate(context.Background(), p) }()
	return out
}

// answer waits for the call's return.
func (x *bench) answer(out <-chan error) (err error) {
	x.Helper()
	x.until("the call returns", func() bool {
		select {
		case err = <-out:
			return true
		default:
			return false
		}
	})
	return err
}

// log is a sink.
type log struct {
	mu     sync.Mutex
	events []virt.Event
}

func (l *log) add(e virt.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) all() []virt.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// short lists what happened as "Suspended/Migrated".
func (l *log) short() []string {
	var out []string
	for _, e := range l.all() {
		switch e.Kind {
		case virt.EventLifecycle:
			out = append(out, e.Event+"/"+e.Detail)
		default:
			out = append(out, string(e.Kind))
		}
	}
	return out
}

// has reports whether these came, in this order, others between them or not.
func (l *log) has(want ...string) bool {
	for _, s := range l.short() {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

func (l *log) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = nil
}

func testHost(_ *testing.T, x *bench) {
	ha, err := x.a.Host(x.ctx())
	x.must(err)
	hb, err := x.b.Host(x.ctx())
	x.must(err)
	if len(ha.UUID) != 36 || ha.UUID == hb.UUID {
		x.Errorf("host UUIDs %q and %q: want two", ha.UUID, hb.UUID)
	}
	if ha.Hostname == "" || ha.Hostname == hb.Hostname {
		x.Errorf("host names %q and %q: want two", ha.Hostname, hb.Hostname)
	}
	if ha.MemoryKiB < 64<<10 || ha.CPUs < 1 || ha.Arch == "" || ha.LibvirtVersion < 6000000 || ha.HypervisorVersion < 4000000 {
		x.Errorf("implausible host: %+v", ha)
	}
	if !slices.Contains(ha.Machines, "q35") {
		x.Errorf("machine types %v: want q35 among them", ha.Machines)
	}
	if !ha.LockManagerKnown {
		x.Error("the lock manager of the own host is not known")
	}
	if _, err := x.a.Networks(x.ctx()); err != nil {
		x.Error(err)
	}
	if _, err := x.a.Pools(x.ctx()); err != nil {
		x.Error(err)
	}
	if has, err := x.a.HasBridge(x.ctx(), "no-such-bridge"); has || err != nil {
		x.Errorf("HasBridge(no-such-bridge) = %v, %v", has, err)
	}
	ok, reason, err := x.b.CompareCPU(x.ctx(), x.Guest(guestName, guestUUID))
	if !ok || err != nil {
		x.Errorf("the guest's own CPU is not compatible: %s, %v", reason, err)
	}
	if !x.a.Alive() {
		x.Error("an open connection is not alive")
	}
}

func testDefinitions(_ *testing.T, x *bench) {
	x.absent(x.a, guestUUID, "A")
	if _, err := x.a.Find(x.ctx(), guestName); !virt.IsNoDomain(err) {
		x.Fatalf("Find of a free name: %v", err)
	}
	for range 2 { // defining twice is an update
		_, err := x.a.Define(x.ctx(), x.Guest(guestName, guestUUID))
		x.must(err)
	}
	uuid, err := x.a.Find(x.ctx(), guestName)
	if uuid != guestUUID || err != nil {
		x.Fatalf("Find = %q, %v", uuid, err)
	}
	if _, err := x.a.Define(x.ctx(), x.Guest(guestName, otherUUID)); !virt.IsRefused(err) {
		x.Errorf("a second domain of the same name: %v, want a refusal", err)
	}
	d := x.domain(x.a, guestUUID)
	if d.Name != guestName || d.State != virt.StateShutOff || d.ID != virt.Inactive || d.Present() || d.Running() ||
		!d.Persistent || d.Autostart || d.ManagedSave || d.Attempt != "" || d.Title == "" || d.MaxMemoryKiB == 0 || d.VCPUs != 1 {
		x.Errorf("defined domain: %+v", d)
	}
	if d.Machine == "" || d.Arch == "" || d.Type == "" {
		x.Errorf("configuration not read: %+v", d.Config)
	}
	x.must(x.a.SetAutostart(x.ctx(), guestUUID, true))
	if !x.domain(x.a, guestUUID).Autostart {
		x.Error("autostart was set and is not")
	}
	x.must(x.a.SetAutostart(x.ctx(), guestUUID, false))
	if x.domain(x.a, guestUUID).Autostart {
		x.Error("autostart was taken away and is still set")
	}
	_, err = x.a.Define(x.ctx(), x.Guest("contract-2", otherUUID))
	x.must(err)
	all, err := x.a.Domains(x.ctx())
	x.must(err)
	if len(all) != 2 || all[0].Name != guestName || all[1].Name != "contract-2" {
		x.Errorf("list: %+v", all)
	}
	if one := x.domain(x.a, guestUUID); len(all) > 0 && !same(one, all[0]) {
		x.Errorf("Domain and Domains differ:\n%+v\n%+v", one, all[0])
	}
	x.must(x.a.Undefine(x.ctx(), guestUUID, virt.UndefineOpts{}))
	x.must(x.a.Undefine(x.ctx(), otherUUID, virt.UndefineOpts{}))
	x.absent(x.a, guestUUID, "A")
	if err := x.a.Undefine(x.ctx(), guestUUID, virt.UndefineOpts{}); !virt.IsNoDomain(err) {
		x.Errorf("undefine of nothing: %v", err)
	}
	x.must(x.a.Barrier(x.ctx()))
	if !x.seenA.has("Defined/Added", "Defined/Updated", "Undefined/Removed") {
		x.Errorf("events: %v", x.seenA.short())
	}
}

// same compares what does not change between two looks.
func same(a, b virt.Domain) bool {
	return a.UUID == b.UUID && a.Name == b.Name && a.Title == b.Title && a.ID == b.ID && a.State == b.State &&
		a.Reason == b.Reason && a.Process == b.Process && a.Persistent == b.Persistent && a.Autostart == b.Autostart &&
		a.ManagedSave == b.ManagedSave && a.Attempt == b.Attempt && a.MaxMemoryKiB == b.MaxMemoryKiB && a.VCPUs == b.VCPUs &&
		a.Machine == b.Machine && a.CPUModel == b.CPUModel && slices.EqualFunc(a.NICs, b.NICs, func(p, q virt.NIC) bool { return p == q })
}

// logs looks at what A's libvirt wrote of the end of the contract's guest.
func (x *bench) logs(want virt.Reason, when string) {
	x.Helper()
	if got, err := x.a.LoggedEnd(x.ctx(), guestName); got != want || err != nil {
		x.Errorf("%s: its log says %q, %v; want %q", when, got, err, want)
	}
}

func testLifecycle(_ *testing.T, x *bench) {
	d := x.start()
	x.logs("", "it runs")
	if d.State != virt.StateRunning || d.Reason != virt.ReasonBooted || !d.Running() || d.Paused() || d.ID < 1 || !d.Persistent {
		x.Fatalf("started domain: %+v", d)
	}
	if d.Process.PID == 0 || d.Process.StartTime == 0 {
		x.Errorf("process of a running domain: %+v", d.Process)
	}
	if p, err := x.a.Process(x.ctx(), guestUUID); p != d.Process || err != nil {
		x.Errorf("Process = %+v, %v; Domain said %+v", p, err, d.Process)
	}
	if err := x.a.Start(x.ctx(), guestUUID); !virt.IsAlreadyRunning(err) {
		x.Errorf("start of a running domain: %v", err)
	}
	if err := x.a.Resume(x.ctx(), guestUUID); !virt.IsAlreadyRunning(err) || !virt.IsOperationInvalid(err) {
		x.Errorf("resume of a running domain: %v", err)
	}
	x.must(x.a.Suspend(x.ctx(), guestUUID))
	d = x.domain(x.a, guestUUID)
	if d.State != virt.StatePaused || d.Reason != virt.ReasonUser || !d.Paused() || d.Running() || d.PausedByMove() {
		x.Errorf("suspended domain: %+v", d)
	}
	for _, other := range []virt.Expect{{ID: d.ID + 1, State: virt.StatePaused}, {ID: d.ID, State: virt.StateRunning}} {
		if err := x.a.ResumeIf(x.ctx(), guestUUID, other); !virt.IsNotAsExpected(err) {
			x.Errorf("resume of a domain that is not %+v: %v", other, err)
		}
	}
	if got := x.domain(x.a, guestUUID); got.State != virt.StatePaused {
		x.Errorf("domain after refused resumes: %+v", got)
	}
	x.must(x.a.ResumeIf(x.ctx(), guestUUID, virt.Expect{ID: d.ID, State: virt.StatePaused}))
	if err := x.a.Resume(x.ctx(), guestUUID); !virt.IsAlreadyRunning(err) {
		x.Errorf("second resume: %v", err)
	}
	d = x.domain(x.a, guestUUID)
	if d.State != virt.StateRunning || d.Reason != virt.ReasonUnpaused {
		x.Errorf("resumed domain: %s (%s)", d.State, d.Reason)
	}
	before := d.CPUTimeNS
	x.until("CPU time grows", func() bool { return x.domain(x.a, guestUUID).CPUTimeNS > before })
	if j, err := x.a.Job(x.ctx(), guestUUID); j.Type != virt.JobNone || err != nil {
		x.Errorf("job of an idle domain: %+v, %v", j, err)
	}
	if err := x.a.AbortJob(x.ctx(), guestUUID); !virt.IsOperationInvalid(err) {
		x.Errorf("abort without a job: %v", err)
	}
	xml, err := x.a.XML(x.ctx(), guestUUID, virt.XMLFlags{})
	x.must(err)
	if !strings.Contains(xml, guestUUID) {
		x.Errorf("live XML does not name its domain: %s", xml)
	}
}

func testDestroy(_ *testing.T, x *bench) {
	d := x.start()
	gone := make(chan struct{})
	_, err := x.A.Exits.WatchExit(d.Process, func() { close(gone) })
	x.must(err)
	for _, want := range []virt.Expect{
		{ID: d.ID + 1, State: virt.StateRunning},
		{ID: d.ID, State: virt.StatePaused},
		{ID: d.ID, State: virt.StateRunning, Attempt: "another"},
	} {
		if err := x.a.Destroy(x.ctx(), guestUUID, want); !virt.IsNotAsExpected(err) {
			x.Fatalf("destroy expecting %+v: %v", want, err)
		}
	}
	if !x.domain(x.a, guestUUID).Running() {
		x.Fatal("a refused destroy ended the domain")
	}
	x.must(x.a.Destroy(x.ctx(), guestUUID, virt.Expect{ID: d.ID, State: virt.StateRunning}))
	after := x.domain(x.a, guestUUID)
	if after.Present() || after.State != virt.StateShutOff || after.Reason != virt.ReasonDestroyed {
		x.Errorf("destroyed domain: %+v", after)
	}
	x.until("the watch of the process fires", func() bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	// A watch on what has ended fires at once.
	late := make(chan struct{})
	_, err = x.A.Exits.WatchExit(d.Process, func() { close(late) })
	x.must(err)
	x.until("the late watch fires", func() bool {
		select {
		case <-late:
			return true
		default:
			return false
		}
	})
	x.must(x.a.Barrier(x.ctx()))
	if !x.seenA.has("Resumed/Unpaused", "Started/Booted", "Shutdown/On host request", "Stopped/Destroyed") {
		x.Errorf("events: %v", x.seenA.short())
	}
	if err := x.a.Resume(x.ctx(), guestUUID); !virt.IsOperationInvalid(err) || virt.IsAlreadyRunning(err) {
		x.Errorf("resume of a shut-off domain: %v", err)
	}
}

func testBarrier(_ *testing.T, x *bench) {
	x.start()
	x.must(x.a.Barrier(x.ctx()))
	for range 20 {
		x.seenA.reset()
		x.must(x.a.Suspend(x.ctx(), guestUUID))
		x.must(x.a.Barrier(x.ctx()))
		if !x.seenA.has("Suspended/Paused") {
			x.Fatalf("after the barrier: %v", x.seenA.short())
		}
		x.must(x.a.Resume(x.ctx(), guestUUID))
		x.must(x.a.Barrier(x.ctx()))
		if !x.seenA.has("Suspended/Paused", "Resumed/Unpaused") {
			x.Fatalf("after the barrier: %v", x.seenA.short())
		}
	}
	for _, e := range x.seenA.all() {
		if e.UUID != guestUUID || e.Name != guestName {
			x.Errorf("event of somebody else: %+v", e)
		}
	}
	if got := x.seenB.short(); len(got) > 0 {
		x.Errorf("B saw A's events: %v", got)
	}
}
