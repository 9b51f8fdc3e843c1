package virttest

import (
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func testGuardedMove(_ *testing.T, x *bench) {
	before := x.start()
	x.must(x.a.SetAutostart(x.ctx(), guestUUID, true))
	gone := make(chan struct{})
	_, err := x.A.Exits.WatchExit(before.Process, func() { close(gone) })
	x.must(err)

	p := x.params()
	p.BandwidthMiBs = x.SlowMiBs
	out := x.migrate(p)

	var job virt.Job
	x.until("the job shows progress", func() bool {
		job, err = x.a.Job(x.ctx(), guestUUID)
		x.must(err)
		return job.Active() && job.MemProcessed > 0 && job.MemTotal > 0
	})
	if job.Operation != virt.OpMigrate || !job.Migration() || job.ElapsedMS == 0 || job.MemRemaining == 0 || job.Iteration == 0 {
		x.Errorf("job during the move: %+v", job)
	}
	if d := x.domain(x.a, guestUUID); !d.Running() || !d.Job.Active() || d.Job.Operation != virt.OpMigrate {
		x.Errorf("A during the move: %+v", d)
	}
	if d := x.domain(x.b, guestUUID); d.Running() || !d.Paused() || d.Attempt != attemptID || !d.Job.Active() || d.Job.Operation != virt.OpMigrateIn {
		x.Errorf("B during the move: %s (%s), attempt %q, job %+v", d.State, d.Reason, d.Attempt, d.Job)
	}
	d := x.domain(x.b, guestUUID)
	x.Logf("during the move B is %s (%s), persistent %v, title %q; A's job %+v", d.State, d.Reason, d.Persistent, d.Title, job)
	x.must(x.a.SetBandwidth(x.ctx(), guestUUID, 4096)) // quick from here
	x.must(x.answer(out))

	// The process is gone, and by the move: the event had come before.
	x.until("the watch of A's process fires", func() bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	x.must(x.a.Barrier(x.ctx()))
	// The definition goes with the call, and no event says so.
	if !x.seenA.has("Suspended/Migrated", "Stopped/Migrated", "job-completed") || x.seenA.has("Undefined/Removed") {
		x.Errorf("A's events: %v", x.seenA.short())
	}
	if x.seenA.has("Resumed/Migrated") || x.seenA.has("Suspended/Migrated", "Resumed/Unpaused") {
		x.Errorf("A ran again: %v", x.seenA.short())
	}
	x.absent(x.a, guestUUID, "A")
	x.logs(virt.ReasonMigrated, "A has left by the move")

	d = x.domain(x.b, guestUUID)
	if d.State != virt.StatePaused || d.Reason != virt.ReasonUser || d.Job.Active() || d.Attempt != attemptID {
		x.Fatalf("B after the move: %s (%s), attempt %q, job %+v; want paused (user) with the attempt and no job",
			d.State, d.Reason, d.Attempt, d.Job)
	}
	if !d.Persistent || d.Autostart || d.Name != before.Name || d.Title != before.Title || d.MaxMemoryKiB != before.MaxMemoryKiB {
		x.Errorf("B after the move: %+v", d)
	}
	x.must(x.b.Barrier(x.ctx()))
	// It "started" when its process did, before any memory had come.
	if !x.seenB.has("Started/Migrated", "Defined/Added", "Suspended/Paused") {
		x.Errorf("B's events: %v", x.seenB.short())
	}
	if x.seenB.has("Resumed/Migrated") {
		x.Errorf("B resumed a guarded copy by itself: %v", x.seenB.short())
	}
	live, err := x.b.XML(x.ctx(), guestUUID, virt.XMLFlags{})
	x.must(err)
	if id, err := virt.AttemptOf(live); id != attemptID || err != nil {
		x.Errorf("attempt in B's live XML: %q, %v", id, err)
	}
	def, err := x.b.XML(x.ctx(), guestUUID, virt.XMLFlags{Inactive: true})
	x.must(err)
	if id, err := virt.AttemptOf(def); id != "" || err != nil {
		x.Errorf("attempt in B's definition: %q, %v; want none", id, err)
	}
	last, err := x.b.LastJob(x.ctx(), guestUUID)
	x.Logf("B's last job %+v", last)
	if err != nil || last.Type != virt.JobCompleted || last.MemTotal == 0 {
		x.Errorf("B's last job: %+v, %v", last, err)
	}

	x.must(x.b.Resume(x.ctx(), guestUUID))
	if err := x.b.Resume(x.ctx(), guestUUID); !virt.IsAlreadyRunning(err) {
		x.Errorf("second resume on B: %v", err)
	}
	cpu := x.domain(x.b, guestUUID).CPUTimeNS
	x.until("B's CPU time grows", func() bool { return x.domain(x.b, guestUUID).CPUTimeNS > cpu })
	if d := x.domain(x.b, guestUUID); d.State != virt.StateRunning || d.Attempt != attemptID {
		x.Errorf("B resumed: %s (%s), attempt %q", d.State, d.Reason, d.Attempt)
	}
}

func testDirectMove(_ *testing.T, x *bench) {
	x.start()
	p := x.params()
	p.Guarded = false
	x.must(x.answer(x.migrate(p)))
	x.absent(x.a, guestUUID, "A")
	if d := x.domain(x.b, guestUUID); d.State != virt.StateRunning || d.Reason != virt.ReasonMigrated || !d.Persistent {
		x.Errorf("B: %s (%s), persistent %v", d.State, d.Reason, d.Persistent)
	}
	x.must(x.b.Barrier(x.ctx()))
	if !x.seenB.has("Started/Migrated", "Resumed/Migrated") {
		x.Errorf("B's events: %v", x.seenB.short())
	}
}

func testPausedMove(_ *testing.T, x *bench) {
	x.start()
	x.must(x.a.Suspend(x.ctx(), guestUUID))
	x.must(x.a.Barrier(x.ctx()))
	x.seenA.reset()
	p := x.params()
	p.Guarded = false
	x.must(x.answer(x.migrate(p)))
	x.absent(x.a, guestUUID, "A")
	if d := x.domain(x.b, guestUUID); d.State != virt.StatePaused || d.Reason != virt.ReasonUser {
		x.Errorf("B: %s (%s); a guest that its owner paused must stay so", d.State, d.Reason)
	}
	// What stood still already is not suspended by the move: only its end tells
	// that it is gone by the move.
	x.must(x.a.Barrier(x.ctx()))
	if !x.seenA.has("Stopped/Migrated") || x.seenA.has("Suspended/Migrated") {
		x.Errorf("A's events: %v", x.seenA.short())
	}
}

func testTransientMove(_ *testing.T, x *bench) {
	_, err := x.a.StartXML(x.ctx(), x.Guest(guestName, guestUUID), false)
	x.must(err)
	if d := x.domain(x.a, guestUUID); d.Persistent || !d.Running() {
		x.Fatalf("transient domain: %+v", d)
	}
	p := x.params()
	p.Persist = false
	x.must(x.answer(x.migrate(p)))
	x.absent(x.a, guestUUID, "A")
	if d := x.domain(x.b, guestUUID); d.Persistent || !d.Paused() || d.Attempt != attemptID {
		x.Errorf("B: %+v", d)
	}
}

// testThereAndBack moves twice: the second attempt's id replaces the first's.
func testThereAndBack(_ *testing.T, x *bench) {
	x.start()
	x.must(x.answer(x.migrate(x.params())))
	x.must(x.b.Resume(x.ctx(), guestUUID))

	live, err := x.b.XML(x.ctx(), guestUUID, virt.XMLFlags{Migratable: true})
	x.must(err)
	dest, err := virt.DestXML(live, "second")
	x.must(err)
	back := x.open(x.B, nil)
	out := make(chan error, 1)
	ctx := x.ctx()
	go func() {
		out <- back.Migrate(ctx, virt.MigrateParams{UUID: guestUUID, DestURI: x.A.Peer, DestXML: dest, Guarded: true, Persist: true})
	}()
	x.must(x.answer(out))
	x.absent(x.b, guestUUID, "B")
	if d := x.domain(x.a, guestUUID); d.Attempt != "second" || !d.Paused() || !d.Persistent {
		x.Errorf("A: %s (%s), attempt %q, persistent %v", d.State, d.Reason, d.Attempt, d.Persistent)
	}
	def, err := x.a.XML(x.ctx(), guestUUID, virt.XMLFlags{Inactive: true})
	x.must(err)
	if strings.Contains(def, virt.AttemptNamespace) {
		x.Error("A's definition carries an attempt")
	}
	x.must(x.a.Resume(x.ctx(), guestUUID))
}

func testAbort(_ *testing.T, x *bench) {
	before := x.start()
	p := x.params()
	p.BandwidthMiBs = x.SlowMiBs
	out := x.migrate(p)
	x.until("B has its copy and memory goes over", func() bool {
		job, err := x.a.Job(x.ctx(), guestUUID)
		x.must(err)
		_, err = x.b.Domain(x.ctx(), guestUUID)
		return err == nil && job.MemProcessed > 0
	})
	x.must(x.a.AbortJob(x.ctx(), guestUUID))
	if err := x.answer(out); !virt.IsAborted(err) || !virt.IsRefused(err) || virt.OutcomeUnknown(err) {
		x.Errorf("the aborted call: %v; want IsAborted", err)
	}
	x.stayedAtA(before)
	x.must(x.b.Barrier(x.ctx()))
	if !x.seenB.has("Started/Migrated", "Stopped/Failed") {
		x.Errorf("B's events: %v", x.seenB.short())
	}
	if err := x.a.AbortJob(x.ctx(), guestUUID); !virt.IsOperationInvalid(err) {
		x.Errorf("second abort: %v", err)
	}
	// and again, to the end: nothing of the first try is in the way
	x.must(x.answer(x.migrate(x.params())))
	if d := x.domain(x.b, guestUUID); !d.Paused() {
		x.Errorf("B after the second try: %+v", d)
	}
}

// stayedAtA checks that a failed move changed nothing.
func (x *bench) stayedAtA(before virt.Domain) {
	x.Helper()
	var d virt.Domain
	x.until("A has no job", func() bool { d = x.domain(x.a, guestUUID); return !d.Job.Active() })
	if d.State != virt.StateRunning || d.ID != before.ID || d.Process != before.Process || !d.Persistent || d.Attempt != before.Attempt {
		x.Errorf("A after the failed move: %+v; before: %+v", d, before)
	}
	x.until("B has no copy", func() bool {
		_, err := x.b.Domain(x.ctx(), guestUUID)
		return virt.IsNoDomain(err)
	})
}

func testNameTaken(_ *testing.T, x *bench) {
	before := x.start()
	_, err := x.b.Define(x.ctx(), x.Guest(guestName, otherUUID))
	x.must(err)
	err = x.answer(x.migrate(x.params()))
	if !virt.IsRefused(err) || virt.OutcomeUnknown(err) || !strings.Contains(virt.Message(err), guestName) {
		x.Errorf("the call: %v; want a refusal that names the domain", err)
	}
	x.stayedAtA(before)
	if d := x.domain(x.b, otherUUID); d.Present() || !d.Persistent {
		x.Errorf("B's own domain: %+v", d)
	}
}

func testAlreadyThere(_ *testing.T, x *bench) {
	before := x.start()
	_, err := x.b.StartXML(x.ctx(), x.Guest(guestName, guestUUID), true)
	x.must(err)
	if err := x.answer(x.migrate(x.params())); !virt.IsRefused(err) {
		x.Errorf("the call: %v; want a refusal", err)
	}
	if d := x.domain(x.a, guestUUID); !d.Running() || d.ID != before.ID {
		x.Errorf("A: %+v", d)
	}
	if d := x.domain(x.b, guestUUID); !d.Paused() || d.Attempt != "" {
		x.Errorf("B's own process: %+v", d)
	}
}

func testUnreachable(_ *testing.T, x *bench) {
	before := x.start()
	p := x.params()
	p.DestURI = "qemu+tcp://no-such-host.invalid/system"
	err := x.answer(x.migrate(p))
	if !virt.IsRefused(err) || virt.IsNotConnected(err) {
		x.Errorf("the call: %v; a peer that can't be reached is a refusal, not a lost connection of ours", err)
	}
	if !x.a.Alive() {
		x.Error("our own connection broke")
	}
	x.stayedAtA(before)
}

func testParameters(_ *testing.T, x *bench) {
	before := x.start()
	p := x.params()
	p.PostCopy = true
	if err := x.answer(x.migrate(p)); !virt.IsRefused(err) {
		x.Errorf("guarded with post-copy: %v", err)
	}
	p = x.params()
	p.UUID = otherUUID
	if err := x.answer(x.migrate(p)); !virt.IsNoDomain(err) {
		x.Errorf("a domain that is not there: %v", err)
	}
	if err := x.a.SetMaxDowntime(x.ctx(), guestUUID, 0); !virt.IsRefused(err) {
		x.Errorf("downtime 0: %v", err)
	}
	if err := x.a.StartPostCopy(x.ctx(), guestUUID); !virt.IsOperationInvalid(err) {
		x.Errorf("post-copy without a migration: %v", err)
	}
	x.stayedAtA(before)
	x.must(x.a.Destroy(x.ctx(), guestUUID, virt.Expect{ID: before.ID, State: virt.StateRunning}))
	if err := x.answer(x.migrate(virt.MigrateParams{UUID: guestUUID, DestURI: x.B.Peer})); !virt.IsOperationInvalid(err) {
		x.Errorf("a shut-off domain: %v", err)
	}
}

// testMoveOverDefinition: a definition that stands at B, of an earlier visit
// say, is replaced by the one that comes.
func testMoveOverDefinition(_ *testing.T, x *bench) {
	x.start()
	_, err := x.b.Define(x.ctx(), x.Guest(guestName, guestUUID))
	x.must(err)
	p := x.params()
	p.AutoConverge, p.AutoConvergeInitial, p.AutoConvergeIncrement = true, 30, 20
	x.must(x.answer(x.migrate(p)))
	x.absent(x.a, guestUUID, "A")
	if d := x.domain(x.b, guestUUID); !d.Paused() || !d.Persistent || d.Attempt != attemptID {
		x.Errorf("B: %+v", d)
	}
}

func testRestart(_ *testing.T, x *bench) {
	before := x.start()
	seen := &log{}
	start := time.Unix(0, 0)
	k := virt.NewKeeper(x.A.Open, x.A.URI, seen.add)
	x.Cleanup(func() { _ = k.Close() })
	x.must(k.Ensure(x.ctx(), start))
	old, first, err := k.Conn()
	x.must(err)

	x.A.RestartLibvirtd()
	x.until("the old connection is dead", func() bool { return !old.Alive() })
	if _, err := old.Domains(x.ctx()); !virt.IsNotConnected(err) || !virt.OutcomeUnknown(err) {
		x.Errorf("a call on a dead connection: %v", err)
	}
	now := start
	x.until("the keeper has a new connection", func() bool {
		now = now.Add(time.Second)
		return k.Ensure(x.ctx(), now) == nil
	})
	c, second, err := k.Conn()
	x.must(err)
	if second <= first {
		x.Errorf("incarnations %d and %d", first, second)
	}
	d := x.domain(c, guestUUID)
	if !d.Running() || d.Process != before.Process || d.ID != before.ID {
		x.Errorf("after the restart: %+v; before: %+v", d, before)
	}
	x.must(c.Suspend(x.ctx(), guestUUID))
	x.must(c.Barrier(x.ctx()))
	if !seen.has("connected", "disconnected", "connected", "Suspended/Paused") {
		x.Errorf("what the keeper's owner saw: %v", seen.short())
	}
	last := seen.all()[len(seen.all())-1]
	if last.Incarnation != second {
		x.Errorf("event of incarnation %d, want %d", last.Incarnation, second)
	}
}

func testClosed(_ *testing.T, x *bench) {
	seen := &log{}
	c := x.open(x.A, seen.add)
	x.must(c.Close())
	x.must(c.Close())
	if c.Alive() {
		x.Error("a closed connection is alive")
	}
	if _, err := c.Domains(x.ctx()); !virt.IsNotConnected(err) {
		x.Errorf("a call on a closed connection: %v", err)
	}
	if err := c.Barrier(x.ctx()); !virt.IsNotConnected(err) {
		x.Errorf("a barrier on a closed connection: %v", err)
	}
	if err := c.Migrate(x.ctx(), virt.MigrateParams{UUID: guestUUID, DestURI: x.B.Peer}); !virt.IsNotConnected(err) {
		x.Errorf("a move on a closed connection: %v", err)
	}
	_, err := x.a.Define(x.ctx(), x.Guest(guestName, guestUUID))
	x.must(err)
	x.must(x.a.Barrier(x.ctx()))
	if got := seen.short(); len(got) > 0 {
		x.Errorf("a closed connection still told: %v", got)
	}
}
