package virttest

import (
	"slices"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// world is a fleet with one guest running on a, driven by one thread.
type world struct {
	*testing.T
	f        *Fleet
	a, b     *Host
	ca, cb   virt.Conn
	sawA     *log
	returned int // how often the migrate call returned
	err      error
}

func newWorld(t *testing.T, persistent bool) *world {
	t.Helper()
	f := NewFleet([]string{"a", "b"}, WithoutWaiting())
	w := &world{T: t, f: f, a: f.Host("a"), b: f.Host("b"), sawA: &log{}}
	w.connect()
	var err error
	if persistent {
		if _, err = w.ca.Define(t.Context(), guestXML("g1", guestUUID)); err == nil {
			err = w.ca.Start(t.Context(), guestUUID)
		}
	} else {
		_, err = w.ca.StartXML(t.Context(), guestXML("g1", guestUUID), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.f.Host("a").SetLoad(guestUUID, 100<<20, 0) // a second at 100 MiB/s
	return w
}

// connect opens the connections again that a fault has broken.
func (w *world) connect() {
	w.Helper()
	for _, s := range []struct {
		h    *Host
		c    *virt.Conn
		sink virt.Sink
	}{{w.a, &w.ca, w.sawA.add}, {w.b, &w.cb, nil}} {
		if *s.c != nil && (*s.c).Alive() {
			continue
		}
		c, err := s.h.Opener()(w.Context(), "qemu:///system", s.sink)
		if err != nil {
			w.Fatalf("open %s: %v", s.h.Name(), err)
		}
		*s.c = c
	}
}

func (w *world) migrate(guarded bool) {
	w.Helper()
	live, err := w.ca.XML(w.Context(), guestUUID, virt.XMLFlags{Migratable: true})
	if err != nil {
		w.Fatal(err)
	}
	dest, err := virt.DestXML(live, attemptID)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.a.StartMigrate(virt.MigrateParams{UUID: guestUUID, DestURI: w.b.URI(), DestXML: dest, Guarded: guarded, Persist: true},
		func(err error) { w.returned++; w.err = err }); err != nil {
		w.Fatal(err)
	}
}

// show gives a copy as virsh domstate --reason would: "running (migrated)"; "none"
// without a process.
func (w *world) show(c virt.Conn) string {
	w.Helper()
	d, err := c.Domain(w.Context(), guestUUID)
	switch {
	case virt.IsNoDomain(err):
		return "none"
	case err != nil:
		w.Fatal(err)
		return ""
	case d.Job.Active():
		return string(d.State) + " (" + string(d.Reason) + "), job"
	}
	return string(d.State) + " (" + string(d.Reason) + ")"
}

// TestDangers is what libvirt was measured to do, fault by fault: where the two
// copies are when everything has come to rest, and on how many hosts the guest
// executed at the same time.
func TestDangers(t *testing.T) {
	const (
		canceled = "running (migration canceled)"
		booted   = "running (booted)"
		stuck    = "paused (migrating)"
		guard    = "paused (user)"
		arrived  = "running (migrated)"
	)
	freeze := func(at Phase) func(*world) {
		return func(w *world) {
			w.f.At(guestUUID, at, func() {
				w.b.Freeze()
				w.f.later(40*time.Second, w.b.Thaw)
			})
		}
	}
	for _, c := range []struct {
		name    string
		guarded bool
		fault   func(*world)
		a, b    string
		most    int  // hosts on which the guest executed at one moment
		call    bool // the call returned without an error
		lost    bool // the call never returned: its libvirtd died
	}{
		{name: "none, plain", a: "none", b: arrived, most: 1, call: true},
		{name: "none, guarded", guarded: true, a: "none", b: guard, most: 1, call: true},

		{name: "B's libvirtd frozen in the transfer, plain", fault: freeze(Transferring), a: canceled, b: arrived, most: 2},
		{name: "B's libvirtd frozen in the transfer, guarded", guarded: true, fault: freeze(Transferring), a: canceled, b: guard, most: 1},
		{name: "B's libvirtd frozen after the transfer, plain", fault: freeze(Complete), a: canceled, b: arrived, most: 2},
		{name: "B's libvirtd frozen after the transfer, guarded", guarded: true, fault: freeze(Complete), a: canceled, b: guard, most: 1},

		{name: "link cut when B has finished, plain", fault: cut(Finished), a: canceled, b: arrived, most: 2},
		{name: "link cut when B has finished, guarded", guarded: true, fault: cut(Finished), a: canceled, b: guard, most: 1},
		{name: "answer lost, plain", fault: lose, a: canceled, b: arrived, most: 2},
		{name: "answer lost, guarded", guarded: true, fault: lose, a: canceled, b: guard, most: 1},
		{name: "link cut before Finish was sent, plain", fault: cut(Stopped), a: canceled, b: "none", most: 1},

		{name: "B's libvirtd killed in the transfer", guarded: true, fault: kill(theB, Transferring), a: booted, b: "none", most: 1},
		{name: "B's libvirtd killed in Finish, plain", fault: kill(theB, Finishing), a: canceled, b: arrived, most: 2},
		{name: "B's libvirtd killed in Finish, guarded", guarded: true, fault: kill(theB, Finishing), a: canceled, b: "none", most: 1},

		{name: "A's libvirtd killed in the transfer", guarded: true, fault: kill(theA, Transferring), a: booted, b: "none", most: 1, lost: true},
		{name: "A's libvirtd killed at the last pass", guarded: true, fault: kill(theA, Stopped), a: canceled, b: "none", most: 1, lost: true},
		{name: "A's libvirtd killed after Finish was sent, plain", fault: kill(theA, Finishing), a: stuck, b: arrived, most: 1, lost: true},
		{name: "A's libvirtd killed after Finish was sent, guarded", guarded: true, fault: kill(theA, Finishing), a: stuck, b: guard, most: 1, lost: true},
		{name: "A's libvirtd killed before Finish was sent", guarded: true, fault: kill(theA, Complete), a: stuck, b: "none", most: 1, lost: true},

		{name: "QEMU killed on A in the transfer", guarded: true, fault: killQEMU(theA, Transferring), a: "shut off (crashed)", b: "none", most: 1},
		{name: "QEMU killed on B in the transfer", guarded: true, fault: killQEMU(theB, Transferring), a: booted, b: "none", most: 1},
		{name: "guest shuts itself down in the transfer", guarded: true, fault: powerOff, a: "shut off (shutdown)", b: "none", most: 1},
		{name: "A crashes in the transfer", guarded: true, fault: crash(theA, Transferring), a: "shut off (unknown)", b: "none", most: 1, lost: true},
		{name: "A crashes when B has finished", guarded: true, fault: crash(theA, Finished), a: "shut off (unknown)", b: guard, most: 1, lost: true},
		{name: "B crashes in the transfer", guarded: true, fault: crash(theB, Transferring), a: booted, b: "none", most: 1},
		{name: "B crashes in Finish", guarded: true, fault: crash(theB, Finishing), a: canceled, b: "none", most: 1},

		{name: "started again on A while the call is out", guarded: true, fault: startAgain, a: booted, b: guard, most: 1, call: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, true)
			if c.fault != nil {
				c.fault(w)
			}
			w.migrate(c.guarded)
			most := 0
			for range 12000 { // 120 s
				w.f.Advance(10 * time.Millisecond)
				most = max(most, len(w.f.RunningOn(guestUUID)))
			}
			w.connect()
			if a, b := w.show(w.ca), w.show(w.cb); a != c.a || b != c.b {
				t.Errorf("at rest A is %q and B is %q; want %q and %q", a, b, c.a, c.b)
			}
			if most != c.most {
				t.Errorf("the guest executed on %d hosts at once, want %d", most, c.most)
			}
			switch {
			case c.lost && w.returned != 0:
				t.Errorf("a call whose libvirtd died returned: %v", w.err)
			case !c.lost && (w.returned != 1 || (w.err == nil) != c.call || w.err != nil && !virt.IsRefused(w.err)):
				t.Errorf("the call returned %d times, last with %v", w.returned, w.err)
			}
			if _, more := w.f.Next(); more {
				t.Error("something is still under way")
			}
		})
	}
}

// later calls do from outside the fleet's lock after a time.
func (f *Fleet) later(d time.Duration, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after(d, func() { f.post(do) })
}

func theA(w *world) *Host { return w.a }

func theB(w *world) *Host { return w.b }

func cut(at Phase) func(*world) {
	return func(w *world) {
		w.f.At(guestUUID, at, func() {
			w.f.Cut(w.a, w.b)
			w.f.later(40*time.Second, func() { w.f.Mend(w.a, w.b) })
		})
	}
}

func lose(w *world) { w.f.At(guestUUID, Transferring, func() { w.f.LoseFinish(guestUUID) }) }

func kill(which func(*world) *Host, at Phase) func(*world) {
	return func(w *world) {
		w.f.At(guestUUID, at, func() {
			which(w).KillLibvirtd()
			w.f.later(5*time.Second, which(w).StartLibvirtd)
		})
	}
}

func killQEMU(which func(*world) *Host, at Phase) func(*world) {
	return func(w *world) { w.f.At(guestUUID, at, func() { which(w).KillQEMU(guestUUID) }) }
}

func powerOff(w *world) { w.f.At(guestUUID, Transferring, func() { w.a.PowerOff(guestUUID) }) }

func crash(which func(*world) *Host, at Phase) func(*world) {
	return func(w *world) {
		w.f.At(guestUUID, at, func() {
			which(w).Crash()
			w.f.later(60*time.Second, which(w).Boot)
		})
	}
}

// startAgain starts the domain on A in the last 200 ms of the call: libvirt then
// takes the definition from under the running guest.
func startAgain(w *world) {
	w.f.At(guestUUID, Exited, func() {
		if err := w.ca.Start(w.Context(), guestUUID); err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(func() {
		if d, err := w.ca.Domain(w.Context(), guestUUID); err != nil || d.Persistent {
			w.Errorf("the guest that was started: %+v, %v; want it transient", d, err)
		}
	})
}

func TestStallAndAbort(t *testing.T) {
	w := newWorld(t, true)
	w.f.At(guestUUID, Transferring, func() { w.f.Stall(guestUUID, true) })
	w.migrate(true)
	w.f.Advance(time.Hour)
	j, err := w.ca.Job(t.Context(), guestUUID)
	if err != nil || !j.Active() || j.MemProcessed != 0 || j.ElapsedMS < 3_000_000 {
		t.Fatalf("a stalled job: %+v, %v", j, err)
	}
	w.f.Stall(guestUUID, false)
	w.f.Advance(500 * time.Millisecond)
	if j, err = w.ca.Job(t.Context(), guestUUID); err != nil || j.MemProcessed == 0 {
		t.Fatalf("it goes on: %+v, %v", j, err)
	}
	if err := w.ca.AbortJob(t.Context(), guestUUID); err != nil {
		t.Fatal(err)
	}
	w.f.Advance(time.Second)
	if !virt.IsAborted(w.err) || w.show(w.ca) != "running (booted)" || w.show(w.cb) != "none" {
		t.Errorf("after the abort: %v, A %s, B %s", w.err, w.show(w.ca), w.show(w.cb))
	}
}

// TestConvergence: a guest that dirties faster than the stream never ends by
// itself; auto-converge, a longer downtime, or a pause ends it.
func TestConvergence(t *testing.T) {
	for _, c := range []struct {
		name  string
		help  func(*world)
		moves bool
	}{
		{"nothing", func(*world) {}, false},
		{"a longer downtime", func(w *world) { _ = w.ca.SetMaxDowntime(w.Context(), guestUUID, 2000) }, true},
		{"suspended by its owner", func(w *world) { _ = w.ca.Suspend(w.Context(), guestUUID) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, true)
			w.a.SetLoad(guestUUID, 100<<20, 400<<20)
			w.migrate(true)
			w.f.Advance(20 * time.Second)
			if w.show(w.ca) != "running (booted), job" {
				t.Fatalf("a guest that is too busy: A %s", w.show(w.ca))
			}
			c.help(w)
			w.f.Advance(20 * time.Second)
			if moved := w.show(w.ca) == "none"; moved != c.moves {
				t.Errorf("A %s, B %s", w.show(w.ca), w.show(w.cb))
			}
		})
	}
}

func TestPostCopy(t *testing.T) {
	start := func(t *testing.T) *world {
		w := newWorld(t, true)
		w.a.SetLoad(guestUUID, 100<<20, 400<<20)
		if err := w.a.StartMigrate(virt.MigrateParams{UUID: guestUUID, DestURI: w.b.URI(), Persist: true, PostCopy: true},
			func(err error) { w.returned++; w.err = err }); err != nil {
			t.Fatal(err)
		}
		w.f.Advance(2 * time.Second)
		if err := w.ca.StartPostCopy(t.Context(), guestUUID); err != nil {
			t.Fatal(err)
		}
		if a, b := w.show(w.ca), w.show(w.cb); a != "paused (post-copy), job" || b != "running (post-copy), job" {
			t.Fatalf("in post-copy A is %s, B is %s", a, b)
		}
		if err := w.ca.AbortJob(t.Context(), guestUUID); !virt.IsOperationInvalid(err) {
			t.Fatalf("abort in post-copy: %v", err)
		}
		return w
	}
	t.Run("ends", func(t *testing.T) {
		w := start(t)
		w.f.Advance(10 * time.Second)
		if a, b := w.show(w.ca), w.show(w.cb); a != "none" || b != "running (migrated)" || w.err != nil || w.returned != 1 {
			t.Errorf("A %s, B %s, %v", a, b, w.err)
		}
	})
	t.Run("fails", func(t *testing.T) {
		w := start(t)
		w.f.Cut(w.a, w.b)
		w.f.Advance(time.Minute)
		if a, b := w.show(w.ca), w.show(w.cb); a != "paused (post-copy failed)" || b != a || w.err == nil {
			t.Errorf("A %s, B %s, %v", a, b, w.err)
		}
	})
}

// TestExitIsToldOnce: the watch fires when the process has ended, after the
// events that came before, and not when it was stopped.
func TestExitIsToldOnce(t *testing.T) {
	w := newWorld(t, true)
	d, err := w.ca.Domain(t.Context(), guestUUID)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	fired, stopped := 0, 0
	if _, err := w.a.WatchExit(d.Process, func() { fired++; order = w.sawA.short() }); err != nil {
		t.Fatal(err)
	}
	stop, err := w.a.WatchExit(d.Process, func() { stopped++ })
	if err != nil {
		t.Fatal(err)
	}
	if !stop() || stop() {
		t.Error("stop of a watch: want true once")
	}
	w.migrate(true)
	w.f.Advance(10 * time.Second)
	if fired != 1 || stopped != 0 {
		t.Errorf("fired %d times, the stopped one %d times", fired, stopped)
	}
	if !slices.Contains(order, "Suspended/Migrated") || slices.Contains(order, "Stopped/Migrated") {
		t.Errorf("when the process ended, these had been told: %v", order)
	}
}

// TestBootAutostarts: what is marked starts with libvirtd, before anybody can
// ask anybody.
func TestBootAutostarts(t *testing.T) {
	w := newWorld(t, true)
	if err := w.ca.SetAutostart(t.Context(), guestUUID, true); err != nil {
		t.Fatal(err)
	}
	before := w.a.BootID()
	w.a.Crash()
	if on := w.f.RunningOn(guestUUID); len(on) != 0 || w.ca.Alive() {
		t.Errorf("after the crash it runs on %v, the agent's connection is alive: %v", on, w.ca.Alive())
	}
	w.a.Boot()
	w.connect()
	if w.show(w.ca) != "running (booted)" || w.a.BootID() == before {
		t.Errorf("after the boot: %s, boot %s then %s", w.show(w.ca), before, w.a.BootID())
	}
}

// TestTransientIsForgotten: a domain without a definition goes with its process.
func TestTransientIsForgotten(t *testing.T) {
	w := newWorld(t, false)
	w.a.KillQEMU(guestUUID)
	if got := w.show(w.ca); got != "none" {
		t.Errorf("after its end: %s", got)
	}
}

// TestManagedSave: what is restored goes on with the memory of the save, whatever
// the guest has written elsewhere since.
func TestManagedSave(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		w := newWorld(t, true)
		w.f.Advance(time.Second)
		if err := w.a.Save(guestUUID); err != nil {
			t.Fatal(err)
		}
		if d, err := w.ca.Domain(t.Context(), guestUUID); err != nil || d.Present() || !d.ManagedSave || d.Reason != virt.ReasonSaved {
			t.Errorf("after the save: %+v, %v", d, err)
		}
		w.f.Advance(time.Second)
		if elsewhere {
			if _, err := w.cb.StartXML(t.Context(), guestXML("g1", guestUUID), false); err != nil {
				t.Fatal(err)
			}
			w.f.Advance(time.Second)
			w.b.PowerOff(guestUUID)
		}
		if err := w.ca.Start(t.Context(), guestUUID); err != nil {
			t.Fatal(err)
		}
		all := w.f.Guests()
		if len(all) != 1 || all[0].Reason != virt.ReasonRestored || all[0].Revived != elsewhere {
			t.Errorf("ran elsewhere %t: after the start: %+v", elsewhere, all)
		}
	}
}
