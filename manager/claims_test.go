package manager

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

func TestShutDownGuestGivesItsClaimUp(t *testing.T) {
	w := fleet(t)
	d := w.hosts["h1"].domains["uuid-g1"]
	d.proc = none
	w.pass(3 * time.Second)
	if cl := w.claim("g1"); cl.Epoch != 0 {
		t.Fatalf("still claimed: %+v", cl)
	}
	if d.phase != agentv1.ClaimPhase_CLAIM_PHASE_RELEASED {
		t.Errorf("h1 was not asked to give it up: %s", d.phase)
	}
	before := d.epoch
	d.proc = running
	w.pass(3 * time.Second)
	if cl := w.claim("g1"); cl.Holder != "h1" || cl.Epoch <= before {
		t.Errorf("claim %+v, epoch before %d", cl, before)
	}
}

func TestConfirmedAgainAfterABoot(t *testing.T) {
	w := fleet(t)
	before := w.claim("g1").Epoch
	w.hosts["h1"].reboot()
	w.hosts["h1"].domains["uuid-g1"].proc = running // autostart
	w.pass(3 * time.Second)
	cl, d := w.claim("g1"), w.hosts["h1"].domains["uuid-g1"]
	if cl.Holder != "h1" || cl.Epoch <= before {
		t.Errorf("a permission after a boot is a new write: epoch %d, before %d", cl.Epoch, before)
	}
	if d.epoch != cl.Epoch || d.phase != agentv1.ClaimPhase_CLAIM_PHASE_HELD {
		t.Errorf("h1 knows epoch %d, %s", d.epoch, d.phase)
	}
}

func TestSilenceReleasesNothing(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].frozen = true
	w.pass(2 * time.Minute)
	if w.core.hosts["h1"].shown() != store.Unknown {
		t.Errorf("h1 is %s", w.core.hosts["h1"].shown())
	}
	if cl := w.claim("g1"); cl.Holder != "h1" || cl.Phase != store.Held {
		t.Errorf("claim %+v", cl)
	}
	if _, err := w.core.evacuate(w.now, "h1", "alice", ""); err == nil {
		t.Error("a silent host was evacuated")
	}
	w.hosts["h1"].frozen = false
	w.pass(2 * time.Second)
	if w.core.hosts["h1"].shown() != store.Healthy {
		t.Errorf("h1 is %s after it spoke", w.core.hosts["h1"].shown())
	}
}

func TestSeenTwiceIsAmbiguous(t *testing.T) {
	w := fleet(t)
	w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", proc: running, persistent: true, memory: 128 << 10, planted: true}
	w.hosts["h1"].domains["uuid-g1"].planted = true
	w.pass(2 * time.Second)
	if cl := w.claim("g1"); cl.Phase != store.Ambiguous || cl.Holder != "h1" {
		t.Fatalf("claim %+v", cl)
	}
	if len(w.events("claim.ambiguous")) != 1 {
		t.Errorf("%d alarms", len(w.events("claim.ambiguous")))
	}
	d := w.evacuate("h1")
	w.pass(20 * time.Second)
	if row := w.row("g1"); row.ID != "" {
		t.Errorf("an ambiguous guest is moved: %+v", row)
	}
	if got := w.core.decisions[d.ID].Resolution; !strings.Contains(got, "g1: its claim is ambiguous") {
		t.Errorf("resolution %q", got)
	}
	w.hosts["h1"].domains["uuid-g1"].proc = none
	w.hosts["h1"].domains["uuid-g1"].persistent = false
	w.pass(3 * time.Second)
	if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h2" {
		t.Errorf("one copy is left on h2: %+v", cl)
	}
}

func TestMovedByHand(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].domains["uuid-g1"].proc = none
	w.hosts["h1"].domains["uuid-g1"].persistent = false
	w.hosts["h2"].domains["uuid-g1"] = &fakeDomain{name: "g1", proc: running, persistent: true, memory: 128 << 10}
	w.hosts["h2"].report() // the target's word comes first
	w.settle()
	w.pass(3 * time.Second)
	if cl := w.claim("g1"); cl.Phase != store.Held || cl.Holder != "h2" {
		t.Errorf("claim %+v", cl)
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		name string
		peer pki.Peer
		do   func(h *agentv1.Hello)
		want string
	}{
		{"as enrolled", peer("h1"), func(*agentv1.Hello) {}, ""},
		{"not enrolled", peer("h9"), func(*agentv1.Hello) {}, "not enrolled"},
		{"an earlier certificate", pki.Peer{Host: "h1", Serial: "old"}, func(*agentv1.Hello) {}, "another certificate"},
		{"another name", peer("h1"), func(h *agentv1.Hello) { h.Identity.Host = "h2" }, "calls itself"},
		{"another machine", peer("h1"), func(h *agentv1.Hello) { h.Identity.MachineId = "x" }, "machine-id x"},
		{"another libvirt", peer("h1"), func(h *agentv1.Hello) { h.Identity.LibvirtHostUuid = "x" }, "libvirt host UUID x"},
		{"another boot while it speaks", peer("h1"), func(h *agentv1.Hello) { h.BootId = "other" }, "another machine with the same identity"},
		{"no boot", peer("h1"), func(h *agentv1.Hello) { h.BootId = "" }, "no boot id"},
		{"another protocol", peer("h1"), func(h *agentv1.Hello) { h.Protocol = 2 }, "protocol 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fleet(t)
			hello := &agentv1.Hello{Identity: &agentv1.Identity{Host: "h1", LibvirtHostUuid: "uuid-h1", MachineId: "machine-h1"}, BootId: w.hosts["h1"].boot, Protocol: 1}
			c.do(hello)
			link := &fakeHost{w: w}
			s := w.core.Connect(w.now, c.peer, hello, link)
			refused := link.inbox[0].GetWelcome().GetRefused()
			if c.want == "" {
				if refused != "" || !s.live() {
					t.Errorf("refused: %q", refused)
				}
				return
			}
			if !strings.Contains(refused, c.want) || s.live() {
				t.Errorf("welcome %q, want a refusal: %q", refused, c.want)
			}
		})
	}
}

// TestNewSessionAnswersForTheOld: whoever waits for an agent's answer hears that
// it began anew, although nobody has said that the old session ended.
func TestNewSessionAnswersForTheOld(t *testing.T) {
	w := fleet(t)
	var got []*managerv1.VirshOutput
	w.do(func() {
		w.core.runVirsh(w.core.hosts["h1"], []string{"list"}, func(o *managerv1.VirshOutput) { got = append(got, o) })
	})
	w.hosts["h1"].connect()
	w.settle()
	if len(got) != 1 || !strings.Contains(got[0].GetError(), "another session") || len(w.core.asked.virsh) != 0 {
		t.Errorf("answers %v, %d open", got, len(w.core.asked.virsh))
	}
	if w.core.hosts["h1"].session == nil || !w.core.hosts["h1"].alive() {
		t.Error("the new session does not count")
	}
}

// TestStrangersAreNoNews: a token that is no token fills no log.
func TestStrangersAreNoNews(t *testing.T) {
	w := fleet(t)
	ca, err := pki.NewCA(w.now)
	if err != nil {
		t.Fatal(err)
	}
	before := len(w.log)
	w.do(func() {
		_, err = w.core.enrol(w.now, ca, ca.NewToken(), &agentv1.EnrollRequest{Host: "h9"})
	})
	if err == nil || !strings.Contains(err.Error(), "does not let h9 in") {
		t.Errorf("enrolled: %v", err)
	}
	if got := w.log[before:]; len(got) > 0 {
		t.Errorf("logged: %q", got)
	}
}

// TestOldWordsDoNotCount: reports of another session, boot or order are nothing.
func TestOldWordsDoNotCount(t *testing.T) {
	w := fleet(t)
	h, s := w.hosts["h1"], w.hosts["h1"].session
	for name, do := range map[string]func(r *agentv1.Report){
		"session": func(r *agentv1.Report) { r.Session = "s-0" },
		"boot":    func(r *agentv1.Report) { r.BootId = "before" },
		"seq":     func(r *agentv1.Report) { r.Seq = 1 },
	} {
		r := &agentv1.Report{Session: h.id, BootId: h.boot, Seq: h.seq + 100, Libvirtd: true} // nothing runs
		do(r)
		w.core.Received(w.now, s, &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Report{Report: r}})
		if len(w.core.hosts["h1"].seen) != 4 {
			t.Fatalf("a report of another %s was believed", name)
		}
	}
	h.disconnect()
	w.core.Received(w.now, s, &agentv1.AgentMessage{Body: &agentv1.AgentMessage_Report{Report: &agentv1.Report{Session: h.id, BootId: h.boot, Seq: h.seq + 200, Libvirtd: true}}})
	if w.core.hosts["h1"].alive() {
		t.Error("a closed session made the host alive")
	}
}

// TestCapacity: nothing is planned or begun above what a host may have, and
// what does not fit is named.
func TestCapacity(t *testing.T) {
	w := newWorld(t, "h1", "h2")
	w.hosts["h2"].memory = 6 * gib // less a reserve of one
	for _, g := range []string{"a", "b", "c"} {
		w.guest("h1", g, 2048)
	}
	w.pass(2 * time.Second)
	d := w.evacuate("h1")
	w.until("the decision is done", 3*time.Minute, func() bool { return w.core.decisions[d.ID].Status == store.Done })
	moved := 0
	for _, g := range []string{"a", "b", "c"} {
		if w.where(g) == "h2" {
			moved++
		}
	}
	if got := w.core.decisions[d.ID].Resolution; moved != 2 || !strings.Contains(got, "1 guest stayed") || !strings.Contains(got, "memory") {
		t.Errorf("%d moved, %q", moved, got)
	}
	w.hosts["h2"].memory = 64 * gib // more was plugged in
	w.until("the last one follows", time.Minute, func() bool { return w.state("h1") == store.Drained })
}

// TestSilentTargetIsVoidedLater: the source's word is enough to run on; what the
// target owes outlives the claim.
func TestSilentTargetIsVoidedLater(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].stallAt = 2
	w.evacuate("h1")
	w.until("g1 moves", 10*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 2 })
	row := w.row("g1")
	target := w.hosts[row.Target]
	target.disconnect()
	w.hosts["h1"].breakOff("uuid-g1", "the connection was lost")
	w.until("g1 is rolled back", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.RolledBack })
	if n := len(w.core.owed); n == 0 {
		t.Fatal("nothing is owed")
	}
	if got := w.core.claimedKiB("")[row.Target]; got < 128<<10 {
		t.Errorf("no reservation is left on %s: %d KiB", row.Target, got)
	}
	w.hosts["h1"].stallAt = 100
	w.restart()
	w.pass(2 * time.Second)
	target.reconnect()
	w.until("what was owed is paid", time.Minute, func() bool {
		for k := range w.core.owed {
			if k.attempt == row.ID {
				return false
			}
		}
		return true
	})
	if d := target.domains["uuid-g1"]; d.attempt == row.ID && d.state != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("the attempt is %s on %s", d.state, row.Target)
	}
}

// TestOwedVoidOfWhatHasBecomeTheGuest: somebody lets the copy run that a silent
// target was to void, and the source's is stopped by hand. What runs is the
// guest: nothing is owed for it any more, and its definition and autostart are
// where it is.
func TestOwedVoidOfWhatHasBecomeTheGuest(t *testing.T) {
	w := fleet(t)
	w.hosts["h1"].loseFinish = true
	w.evacuate("h1")
	w.until("the guest has stopped", 20*time.Second, func() bool { return w.hosts["h1"].domains["uuid-g1"].progress == 3 })
	row := w.row("g1")
	source, target := w.hosts["h1"].domains["uuid-g1"], w.hosts[row.Target].domains["uuid-g1"]
	w.hosts[row.Target].disconnect()
	w.until("g1 is rolled back", 30*time.Second, func() bool { return w.rows()[row.ID].State == migration.RolledBack })
	if !target.persistent || target.autostart {
		t.Fatalf("the copy is defined %t, autostart %t: the definition has come, the autostart has not", target.persistent, target.autostart)
	}
	source.planted, target.planted = true, true
	target.proc, target.guard = running, false // virsh resume
	source.proc = none                         // virsh destroy
	w.hosts[row.Target].reconnect()
	w.until("the claim has followed", 30*time.Second, func() bool { return w.claim("g1").Holder == row.Target })
	w.until("nothing is owed", 30*time.Second, func() bool {
		for k := range w.core.owed {
			if k.attempt == row.ID {
				return false
			}
		}
		return true
	})
	if target.proc != running {
		t.Error("the running copy was destroyed")
	}
	if !target.persistent || !target.autostart {
		t.Errorf("the guest is defined %t, autostart %t where it runs; it was both on h1", target.persistent, target.autostart)
	}
}
