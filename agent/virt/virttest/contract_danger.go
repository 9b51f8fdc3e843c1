package virttest

import (
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// underWay starts a slow move and returns when memory goes over.
func (x *bench) underWay(guarded bool) (before virt.Domain, out <-chan error) {
	x.Helper()
	before = x.start()
	p := x.params()
	p.Guarded, p.BandwidthMiBs = guarded, x.SlowMiBs
	out = x.migrate(p)
	x.until("B has its copy and memory goes over", func() bool {
		job, err := x.a.Job(x.ctx(), guestUUID)
		x.must(err)
		_, err = x.b.Domain(x.ctx(), guestUUID)
		return err == nil && job.MemProcessed > 0
	})
	return before, out
}

// again replaces a connection that a fault has broken.
func (x *bench) again(s Side, old virt.Conn, sink virt.Sink) (c virt.Conn) {
	x.Helper()
	_ = old.Close()
	x.until("libvirtd answers again", func() bool {
		var err error
		if c, err = s.Open(x.ctx(), s.URI, sink); err != nil {
			return false
		}
		if _, err = c.Domains(x.ctx()); err != nil {
			_ = c.Close()
			return false
		}
		return true
	})
	x.Cleanup(func() { _ = c.Close() })
	return c
}

// testFrozenPeer loses the answer of the last step: the target's libvirtd stands
// still from mid-transfer until the source's has given it up. The source lets
// its guest run again; what the target makes of the Finish that it finds in its
// socket is the whole difference between the guard and none.
func testFrozenPeer(x *bench, guarded bool) {
	before, out := x.underWay(guarded)
	x.B.Freeze()
	thawed := false
	x.Cleanup(func() {
		if !thawed {
			x.B.Thaw()
		}
	})
	x.must(x.a.SetBandwidth(x.ctx(), guestUUID, 4096))
	if err := x.answer(out); !virt.IsRefused(err) || virt.OutcomeUnknown(err) {
		x.Errorf("the call: %v; want a refusal: our own libvirtd answered", err)
	}
	var a virt.Domain
	x.until("A's job is over", func() bool { a = x.domain(x.a, guestUUID); return !a.Job.Active() })
	if a.State != virt.StateRunning || a.Reason != virt.ReasonMigrationCanceled || a.ID != before.ID || !a.Persistent {
		x.Errorf("A: %s (%s), persistent %v; want running (migration canceled)", a.State, a.Reason, a.Persistent)
	}
	x.must(x.a.Barrier(x.ctx()))
	if !x.seenA.has("Suspended/Migrated", "Resumed/Migrated") {
		x.Errorf("A's events: %v", x.seenA.short())
	}

	x.B.Thaw()
	thawed = true
	x.b = x.again(x.B, x.b, x.seenB.add)
	var b virt.Domain
	x.until("B's job is over", func() bool { b = x.domain(x.b, guestUUID); return !b.Job.Active() })
	if b.Attempt != attemptID || !b.Persistent {
		x.Errorf("B: attempt %q, persistent %v", b.Attempt, b.Persistent)
	}
	if !guarded {
		if b.State != virt.StateRunning || b.Reason != virt.ReasonMigrated {
			x.Errorf("B without the guard: %s (%s); libvirt lets it run beside A", b.State, b.Reason)
		}
		return
	}
	if b.State != virt.StatePaused || b.Reason != virt.ReasonUser {
		x.Fatalf("B with the guard: %s (%s); want paused (user)", b.State, b.Reason)
	}
	// What line 4 of the table does then: B's own copy goes, A's stays.
	x.must(x.b.Destroy(x.ctx(), guestUUID, virt.Expect{ID: b.ID, State: virt.StatePaused, Attempt: attemptID}))
	if d := x.domain(x.b, guestUUID); d.Present() || !d.Persistent || d.Attempt != "" {
		x.Errorf("what is left on B: %+v", d)
	}
	x.must(x.b.Undefine(x.ctx(), guestUUID, virt.UndefineOpts{}))
	x.absent(x.b, guestUUID, "B")
	if a := x.domain(x.a, guestUUID); !a.Running() {
		x.Errorf("A: %s (%s)", a.State, a.Reason)
	}
}

func testPeerKilled(_ *testing.T, x *bench) {
	before, out := x.underWay(true)
	x.B.RestartLibvirtd()
	if err := x.answer(out); !virt.IsRefused(err) {
		x.Errorf("the call: %v; want a refusal", err)
	}
	x.b = x.again(x.B, x.b, x.seenB.add)
	x.stayedAtA(before)
}

func testDriverKilled(_ *testing.T, x *bench) {
	before, out := x.underWay(true)
	x.A.RestartLibvirtd()
	if err := x.answer(out); !virt.IsNotConnected(err) || !virt.OutcomeUnknown(err) {
		x.Errorf("the call: %v; want a lost connection", err)
	}
	x.a = x.again(x.A, x.a, x.seenA.add)
	x.stayedAtA(before)
	x.must(x.b.Barrier(x.ctx()))
	if !x.seenB.has("Started/Migrated", "Stopped/Destroyed") {
		x.Errorf("B's events: %v", x.seenB.short())
	}
}

func testSourceKilled(_ *testing.T, x *bench) {
	_, out := x.underWay(true)
	x.A.KillQEMU(guestName)
	if err := x.answer(out); !virt.IsRefused(err) {
		x.Errorf("the call: %v; want a refusal", err)
	}
	x.until("A is shut off", func() bool { return !x.domain(x.a, guestUUID).Present() })
	if d := x.domain(x.a, guestUUID); d.State != virt.StateShutOff || d.Reason != virt.ReasonCrashed || !d.Persistent {
		x.Errorf("A: %s (%s), persistent %v", d.State, d.Reason, d.Persistent)
	}
	x.logs(virt.ReasonCrashed, "A's process was killed")
	x.A.RestartLibvirtd()
	x.a = x.again(x.A, x.a, x.seenA.add)
	if d := x.domain(x.a, guestUUID); d.Reason != virt.ReasonUnknown {
		x.Errorf("A after libvirtd's restart: %s (%s)", d.State, d.Reason)
	}
	x.logs(virt.ReasonCrashed, "A's process was killed, then libvirtd")
	x.until("B has no copy", func() bool {
		_, err := x.b.Domain(x.ctx(), guestUUID)
		return virt.IsNoDomain(err)
	})
	x.must(x.a.Barrier(x.ctx()))
	if !x.seenA.has("Stopped/Failed") || x.seenA.has("Suspended/Migrated") || x.seenA.has("Stopped/Migrated") {
		x.Errorf("A's events: %v; nothing there may look like gone by the move", x.seenA.short())
	}
}

func testCopyKilled(_ *testing.T, x *bench) {
	before, out := x.underWay(true)
	x.B.KillQEMU(guestName)
	if err := x.answer(out); !virt.IsRefused(err) {
		x.Errorf("the call: %v; want a refusal", err)
	}
	x.stayedAtA(before)
}
