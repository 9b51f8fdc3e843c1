package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// leaving begins a move and stops when it transfers.
func leaving(t *testing.T) (w *world, a, b *station) {
	t.Helper()
	w, a, b = stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("it transfers", func() bool { return a.sees().GetJob() != nil })
	return w, a, b
}

func TestRestartKnowsWhatIsHeld(t *testing.T) {
	_, a, _ := stage(t)
	a.kill()
	a.start()
	a.open(5)
	if d := a.core.domains[guest]; d.Phase != journal.Held || !d.Confirmed || d.Epoch != 10 {
		t.Errorf("%+v after a restart, want held and confirmed", d.Domain)
	}
	if p := a.sees(); p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_HELD || p.GetEpoch() != 10 {
		t.Errorf("reported %s %d", p.GetPhase(), p.GetEpoch())
	}
}

func TestBootHoldsNothing(t *testing.T) {
	w, a, _ := stage(t)
	boot := a.host.BootID()
	a.kill()
	a.host.Crash()
	a.host.Boot()
	if a.host.BootID() == boot {
		t.Fatal("the fake has not changed its boot id")
	}
	a.start()
	a.open(5)
	w.pass(time.Second)
	p := a.sees()
	if p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_UNSPECIFIED || p.GetEpoch() != 10 {
		t.Errorf("after a boot: phase %s, epoch %d; want none, and the epoch as a floor", p.GetPhase(), p.GetEpoch())
	}
	a.mustSay(t, refusedOutcome, "epoch 9 is older", say(9, "", &agentv1.Confirm{}))
	a.mustSay(t, doneOutcome, "", say(11, "", &agentv1.Confirm{}))
}

// A source that was rebooted in mid-move does not know how its guest ended.
func TestBootInMidMove(t *testing.T) {
	w, a, _ := leaving(t)
	a.kill()
	a.host.Crash()
	w.pass(time.Second)
	a.host.Boot()
	a.start()
	a.open(5)
	w.pass(time.Second)
	if p := a.sees(); p.GetGone() != agentv1.Gone_GONE_NOBODY_KNOWS || p.GetCall() != agentv1.Call_CALL_ENDED || p.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED {
		t.Errorf("gone %s, call %s, %s; want that nobody knows", p.GetGone(), p.GetCall(), p.GetState())
	}
}

func TestDamagedJournalIsNoPermission(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"zeros":           func(b []byte) []byte { return make([]byte, len(b)) },
		"cut":             func(b []byte) []byte { return b[:len(b)/2] },
		"another version": func(b []byte) []byte { return bytes.Replace(b, []byte(" 1 "), []byte(" 9 "), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := leaving(t)
			a.kill()
			a.spoil(spoil)
			a.start()
			a.open(5)
			d := a.core.domains[guest]
			if d != nil && (d.Phase == journal.Held || d.Confirmed) {
				t.Errorf("held: %+v", d.Domain)
			}
			told := false
			for _, m := range a.sent {
				told = told || strings.Contains(m.GetNote().GetText(), "journal")
			}
			if !told {
				t.Error("no operator is told")
			}
			// The call of before may be out: nothing begins and nothing is voided.
			if r := a.order(say(11, "m1", &agentv1.Void{})); r.GetOutcome() != refusedOutcome {
				t.Errorf("void in mid-move: %v", r)
			}
			if r := a.order(say(12, "m2", a.moves())); r.GetOutcome() != refusedOutcome {
				t.Errorf("another move in mid-move: %v", r)
			}
			w.until("the copy is complete", func() bool { return b.sees().GetComplete() })
			w.pass(time.Second)
		})
	}
}

// The guest is stopped by the move, then the agent dies; libvirt's word decides
// what the restarted agent may say.
func TestRestartBetweenStopAndGone(t *testing.T) {
	w, a, _ := stage(t)
	w.hosts["B"].mustSay(t, doneOutcome, "", say(11, "m1", w.hosts["B"].prepares()))
	dead := false
	w.fleet.At(guest, virttest.Complete, func() { dead = true })
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("stopped", func() bool { return dead })
	a.kill()
	w.until("gone on the source", func() bool {
		d, err := a.conn().Domain(t.Context(), guest)
		return err != nil || !d.Present()
	})
	a.start()
	a.open(5)
	w.pass(100 * time.Millisecond)
	if g := a.sees().GetGone(); g != agentv1.Gone_GONE_BY_THE_MOVE {
		t.Errorf("gone %s; libvirt says shut off (migrated)", g)
	}
}

// Nobody was looking and libvirt has forgotten: nobody knows how it ended, and
// the source never says more than that.
func TestNobodyKnows(t *testing.T) {
	w, a, _ := leaving(t)
	a.kill()
	a.host.KillQEMU(guest)
	a.host.KillLibvirtd()
	w.pass(time.Second)
	a.host.StartLibvirtd()
	a.start()
	a.open(5)
	w.pass(time.Second)
	if g := a.sees().GetGone(); g != agentv1.Gone_GONE_NOBODY_KNOWS {
		t.Errorf("gone %s, want that nobody knows", g)
	}
	if d := a.core.domains[guest]; a.core.mayAlone(d) {
		t.Error("it would let the copy run")
	}
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
}

// Nobody was looking and libvirtd has ended between the end of the process and all
// the rest: what it wrote in the domain's log before tells, unless another process
// has begun since.
func TestOnlyTheLogKnows(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(t *testing.T, a *station)
		want agentv1.Gone
	}{
		"the log tells": {func(*testing.T, *station) {}, agentv1.Gone_GONE_BY_THE_MOVE},
		"started since": {func(t *testing.T, a *station) { must(t, a.conn().Start(t.Context(), guest)) }, agentv1.Gone_GONE_NOBODY_KNOWS},
		"the machine was booted since": {func(_ *testing.T, a *station) {
			a.host.Crash()
			a.host.Boot()
		}, agentv1.Gone_GONE_NOBODY_KNOWS},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, _ := stage(t)
			w.hosts["B"].mustSay(t, doneOutcome, "", say(11, "m1", w.hosts["B"].prepares()))
			exited := false
			w.fleet.At(guest, virttest.Exited, func() { exited = true })
			a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
			w.until("called", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_OUT })
			a.kill()
			w.until("the process has ended", func() bool { return exited })
			a.host.KillLibvirtd()
			w.pass(time.Second)
			a.host.StartLibvirtd()
			if d, err := a.conn().Domain(t.Context(), guest); err != nil || d.Present() || d.Reason != virt.ReasonUnknown {
				t.Fatalf("after libvirtd's restart: %+v, %v; want shut off, unknown", d, err)
			}
			tt.then(t, a)
			a.start()
			a.open(5)
			w.pass(time.Second)
			if g := a.sees().GetGone(); g != tt.want {
				t.Errorf("gone %s, want %s", g, tt.want)
			}
		})
	}
}

// A call that nobody waits for any more has ended when libvirt has shown no job
// for 40 s, and not before.
func TestLostCallEndsAfterFortySecondsWithoutAJob(t *testing.T) {
	w, a, _ := leaving(t)
	w.fleet.Stall(guest, true)
	a.kill()
	a.start()
	a.open(5)
	w.pass(2 * time.Minute)
	if c := a.sees().GetCall(); c != agentv1.Call_CALL_OUT {
		t.Fatalf("call %s while libvirt shows a job, want out", c)
	}
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	w.pass(38 * time.Second)
	if c := a.sees().GetCall(); c != agentv1.Call_CALL_OUT {
		t.Fatalf("call %s after 38 s without a job, want out", c)
	}
	a.mustSay(t, refusedOutcome, "call is out", say(11, "m1", &agentv1.Void{}))
	w.pass(4 * time.Second)
	if c := a.sees().GetCall(); c != agentv1.Call_CALL_ENDED {
		t.Fatalf("call %s after 42 s without a job, want ended", c)
	}
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
}

// TestLostJournalAndAnotherRestart: what the first agent knew that it had lost, the
// second has lost as well.
func TestLostJournalAndAnotherRestart(t *testing.T) {
	w, a, _ := stage(t)
	a.kill()
	a.spoil(func([]byte) []byte { return nil })
	a.start()
	w.pass(time.Second)
	a.kill()
	a.start()
	a.open(5)
	a.mustSay(t, refusedOutcome, "no journal from before its restart", say(11, "m1", &agentv1.Void{}))
	w.pass(callMayWait + 2*time.Second)
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	a.kill()
	a.start()
	a.open(5)
	a.mustSay(t, doneOutcome, "", say(11, "m2", &agentv1.Void{}))
}

func TestAlone(t *testing.T) {
	for _, tc := range []struct {
		name  string
		story func(t *testing.T, w *world, a, b *station)
		runs  string
	}{
		{"after a second without a manager", func(t *testing.T, w *world, a, b *station) {
			a.close()
			w.pass(900 * time.Millisecond)
			if len(w.fleet.RunningOn(guest)) > 0 {
				t.Error("resumed before a second had passed")
			}
			w.pass(200 * time.Millisecond)
		}, "B"},
		{"never with a manager", func(_ *testing.T, w *world, a, b *station) { w.pass(time.Minute) }, ""},
		{"not when the manager is back in time", func(_ *testing.T, w *world, a, b *station) {
			a.close()
			w.pass(500 * time.Millisecond)
			a.open(6)
			w.pass(time.Minute)
		}, ""},
		{"never by the target", func(_ *testing.T, w *world, a, b *station) {
			b.close()
			w.pass(time.Minute)
		}, ""},
		{"also after a restart of the agent", func(_ *testing.T, w *world, a, b *station) {
			a.kill()
			a.start()
			w.pass(3 * time.Second)
		}, "B"},
		{"when the connection to the target comes back", func(_ *testing.T, w *world, a, b *station) {
			a.close()
			w.fleet.Cut(a.host, b.host)
			w.pass(40 * time.Second)
			w.fleet.Mend(a.host, b.host)
			w.pass(10 * time.Second)
		}, "B"},
		{"not a copy that its manager has taken back", func(t *testing.T, w *world, a, b *station) {
			b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
			a.close()
			w.pass(time.Minute)
		}, ""},
		{"not after a boot: somebody may have finished it since the copy of the journal", func(_ *testing.T, w *world, a, b *station) {
			a.kill()
			a.host.Crash()
			a.host.Boot()
			a.start()
			w.pass(time.Minute)
		}, ""},
		{"not from the copy of a lost journal", func(t *testing.T, w *world, a, b *station) {
			must(t, journal.Copy(filepath.Join(a.dir, "copy"), a.files.State()))
			a.kill()
			must(t, os.Remove(filepath.Join(a.dir, "journal")))
			a.start()
			w.pass(time.Minute)
		}, ""},
		{"not without a journal", func(_ *testing.T, w *world, a, b *station) {
			a.close()
			a.fail = errors.New("no space left on device")
			w.pass(time.Minute)
			a.fail = nil
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, a, b := arrive(t)
			tc.story(t, w, a, b)
			if on := strings.Join(w.fleet.RunningOn(guest), ","); on != tc.runs {
				t.Errorf("runs on %q, want %q", on, tc.runs)
			}
			if tc.runs == "B" {
				w.until("the target knows", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING })
			}
		})
	}
}

// A guest that its owner had paused is never woken by anybody.
func TestAloneLeavesThePausedPaused(t *testing.T) {
	w, a, b := stage(t)
	must(t, a.conn().Suspend(t.Context(), guest))
	w.settle()
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("gone", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	a.close()
	w.pass(time.Minute)
	if on := w.fleet.RunningOn(guest); len(on) > 0 {
		t.Errorf("runs on %v", on)
	}
}

// Once process and definition have left by the move, a call that nobody waits
// for has nothing left to do: the move does not wait 40 s for it.
func TestLostCallEndsWhenTheDomainHasLeft(t *testing.T) {
	w, a, _ := leaving(t)
	a.kill()
	a.start()
	a.open(5)
	w.until("the definition has left", func() bool {
		_, err := a.conn().Domain(t.Context(), guest)
		return err != nil
	})
	w.pass(2 * time.Second)
	d := a.sees()
	if d.GetGone() != agentv1.Gone_GONE_BY_THE_MOVE || d.GetCall() != agentv1.Call_CALL_ENDED {
		t.Errorf("gone %s, call %s; want gone by the move and the call ended", d.GetGone(), d.GetCall())
	}
}

// TestCopyOfALostJournal: the target's agent has forgotten the attempt, and
// knows only of one long ago. It does not take the copy for one that its owner
// has paused, and lets it run when the leader says so.
func TestCopyOfALostJournal(t *testing.T) {
	_, _, b := arrive(t)
	b.kill()
	b.spoil(func(raw []byte) []byte { return raw[:len(raw)/2] })
	b.start()
	old := b.core.domain(guest)
	old.Attempt = &journal.Attempt{ID: "m0", Role: journal.Source, Stage: journal.Ended}
	b.open(5)
	if d := b.sees(); d.GetPause() != agentv1.Pause_PAUSE_UNSPECIFIED || !d.GetComplete() {
		t.Errorf("pause %s, complete %t: want nobody's, and complete", d.GetPause(), d.GetComplete())
	}
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
}

// TestSettleOfWhatHasEnded holds nothing.
func TestSettleOfWhatHasEnded(t *testing.T) {
	w, _, b := arrive(t)
	b.host.KillQEMU(guest)
	w.pass(time.Second)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
	b.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Settle{Keep: true, Autostart: true}))
	if d := b.sees(); !d.GetPersistent() || !d.GetAutostart() || d.GetPhase() == agentv1.ClaimPhase_CLAIM_PHASE_HELD {
		t.Errorf("defined %t, autostart %t, phase %s", d.GetPersistent(), d.GetAutostart(), d.GetPhase())
	}
}

// TestLostCallEndsWithItsLibvirtd: a libvirtd that began after the call has
// nothing of it in its queue.
func TestLostCallEndsWithItsLibvirtd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since time.Duration // when the libvirtd that runs now says it began, from the agent's restart on
		known bool
		ended bool // 10 s later
	}{{"a new one", time.Second, true, true}, {"the same one", -time.Hour, true, false}, {"nobody knows", 0, false, false}} {
		t.Run(tt.name, func(t *testing.T) {
			w, a, _ := leaving(t)
			w.fleet.Stall(guest, true)
			a.kill()
			a.start()
			a.open(5)
			began := w.now()
			a.host.KillLibvirtd()
			w.pass(time.Second)
			if tt.known {
				a.host.SetInfo(func(i *virt.HostInfo) { i.DaemonSince = began.Add(tt.since) })
			}
			a.host.StartLibvirtd()
			w.pass(10 * time.Second)
			want := agentv1.Call_CALL_OUT
			if tt.ended {
				want = agentv1.Call_CALL_ENDED
			}
			if c := a.sees().GetCall(); c != want {
				t.Errorf("call %s, want %s", c, want)
			}
			w.pass(40 * time.Second)
			if c := a.sees().GetCall(); c != agentv1.Call_CALL_ENDED {
				t.Errorf("call %s after 50 s, want ended", c)
			}
		})
	}
}
