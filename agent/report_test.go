package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

func (s *station) ask(id uint64) {
	s.do(func() {
		s.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Ask{Ask: &agentv1.Ask{Id: id}}}, s.w.now())
	})
	s.w.settle()
}

func (s *station) lastReport(t *testing.T) *agentv1.Report {
	t.Helper()
	if len(s.reports) == 0 {
		t.Fatalf("%s has sent no report", s.name)
	}
	return s.reports[len(s.reports)-1]
}

func TestReportIsComplete(t *testing.T) {
	w := newWorld(t, "A")
	w.boot("A")
	a := w.hosts["A"]
	_, err := a.conn().Define(t.Context(), guestXML("g2", "11111111-2222-3333-4444-555555555502"))
	must(t, err)
	a.host.SetNetworks(virt.Network{Name: "blue", Active: true}, virt.Network{Name: "off"})
	w.pass(11 * time.Second)
	a.open(1)
	w.pass(time.Second)
	r := a.lastReport(t)
	if len(a.reports) != 1 {
		t.Errorf("%d reports at the beginning of the session, want 1", len(a.reports))
	}
	if !r.GetLibvirtd() || r.GetSession() != a.session || r.GetBootId() != a.host.BootID() || r.GetIdentity().GetHost() != "A" || r.GetIdentity().GetLibvirtHostUuid() == "" {
		t.Errorf("%v", r)
	}
	if len(r.GetDomains()) != 2 {
		t.Fatalf("%d domains, want 2", len(r.GetDomains()))
	}
	g := r.GetDomains()[0]
	if g.GetUuid() != guest || g.GetName() != "g1" || g.GetState() != agentv1.DomainState_DOMAIN_STATE_RUNNING ||
		g.GetQemuPid() == 0 || g.GetQemuStart() == 0 || !g.GetPersistent() || !g.GetAutostart() || g.GetMemoryKib() != 131072 ||
		g.GetVcpus() != 1 || g.GetMachine() != "pc-q35-7.2" || !strings.Contains(g.GetCpuXml(), "Nehalem") || g.GetId() == 0 ||
		len(g.GetBridges()) != 1 || g.GetCpuTime().AsDuration() == 0 {
		t.Errorf("the running guest: %v", g)
	}
	if len(g.GetDisks()) != 1 || g.GetDisks()[0].GetSource() != "nbd:g1@10.77.0.1:10809" || g.GetDisks()[0].GetLocal() {
		t.Errorf("its disks: %v", g.GetDisks())
	}
	if off := r.GetDomains()[1]; off.GetState() != agentv1.DomainState_DOMAIN_STATE_SHUTOFF || off.GetQemuPid() != 0 {
		t.Errorf("the guest that is off: %v", off)
	}
	w.pass(21 * time.Second)
	if n := len(a.reports); n != 3 {
		t.Errorf("%d reports after two intervals, want 3", n)
	}
	if f := a.lastReport(t).GetFacts(); f.GetMemoryKib() == 0 || f.GetLibvirtVersion() == "" || strings.Join(f.GetNetworks(), ",") != "blue" {
		t.Errorf("facts: %v", f)
	}
}

// What the journal knows and libvirt does not is listed too: as nothing.
func TestReportListsWhatIsNotThere(t *testing.T) {
	_, _, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	b.ask(1)
	r := b.lastReport(t)
	if len(r.GetDomains()) != 1 || r.GetDomains()[0].GetState() != agentv1.DomainState_DOMAIN_STATE_NONE || r.GetDomains()[0].GetAttempt() != "m1" {
		t.Errorf("%v", r.GetDomains())
	}
}

func TestAskIsAnsweredByALaterReport(t *testing.T) {
	_, a, _ := stage(t)
	n := len(a.reports)
	a.ask(7)
	if len(a.reports) != n+1 || a.lastReport(t).GetAsked() != 7 {
		t.Errorf("%d reports, the last one answers %d; want one more, answering 7", len(a.reports)-n, a.lastReport(t).GetAsked())
	}
	a.close()
	a.open(6)
	if got := a.lastReport(t).GetAsked(); got != 0 {
		t.Errorf("the first report of a session answers Ask %d of another one", got)
	}
}

func TestNoLibvirtdIsSaid(t *testing.T) {
	w, a, _ := stage(t)
	a.host.KillLibvirtd()
	w.pass(time.Second)
	r := a.lastReport(t)
	if r.GetLibvirtd() || len(r.GetDomains()) > 0 || r.GetLibvirtdError() == "" {
		t.Errorf("libvirtd is dead, the report says: %v", r)
	}
	a.host.StartLibvirtd()
	w.pass(15 * time.Second)
	if r := a.lastReport(t); !r.GetLibvirtd() || len(r.GetDomains()) != 1 {
		t.Errorf("libvirtd is back, the report says: %v", r)
	}
	a.host.Freeze()
	a.ask(3)
	w.pass(time.Minute)
	if r := a.lastReport(t); r.GetLibvirtd() {
		t.Errorf("libvirtd is frozen, the report says: %v", r)
	}
}

func TestSightingsComeAtOnce(t *testing.T) {
	w, a, _ := stage(t)
	for _, tc := range []struct {
		name string
		do   func() error
		want agentv1.DomainState
	}{
		{"suspend", func() error { return a.conn().Suspend(t.Context(), guest) }, agentv1.DomainState_DOMAIN_STATE_PAUSED},
		{"resume", func() error { return a.conn().Resume(t.Context(), guest) }, agentv1.DomainState_DOMAIN_STATE_RUNNING},
		{"destroy", func() error { return a.conn().Destroy(t.Context(), guest, expectNow(t, a)) }, agentv1.DomainState_DOMAIN_STATE_SHUTOFF},
		{"undefine", func() error { return a.conn().Undefine(t.Context(), guest, virt.UndefineOpts{}) }, agentv1.DomainState_DOMAIN_STATE_NONE},
	} {
		must(t, tc.do())
		w.settle()
		if s := a.sees().GetState(); s != tc.want {
			t.Errorf("%s: the manager knows %s, want %s", tc.name, s, tc.want)
		}
	}
}

// Between the end of the process and the finding out of how, nobody may take
// the source for empty.
func TestUndecidedEndIsNotNone(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("it transfers", func() bool { return a.sees().GetJob() != nil })
	d := a.core.domains[guest]
	d.exit.ended, d.exit.step = true, a.core.step+100 // the pidfd has fired, nothing else has come
	shown := a.core.show(d)
	if shown.GetState() != agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED || shown.GetGone() != agentv1.Gone_GONE_UNSPECIFIED {
		t.Errorf("%s, gone %s; want that nobody knows yet", shown.GetState(), shown.GetGone())
	}
	d.exit.ended = false
}

func TestReadingsWaitForAManager(t *testing.T) {
	w := newWorld(t, "A")
	a := w.hosts["A"]
	one := 1.5
	sweep := Collected{
		Readings:     []signal.Reading{{Component: "cpu", Signal: "cpu_busy", Value: &one, Unit: "ratio", ObservedAt: w.now(), Seq: 4, Status: signal.OK}},
		Dependencies: []*agentv1.Dependency{{Component: "disk:X", Kind: agentv1.DependencyKind_DEPENDENCY_KIND_ROOT, Name: "/"}},
	}
	batches := func() (out []*agentv1.ReadingBatch) {
		for _, m := range a.sent {
			if b := m.GetReadings(); b != nil {
				out = append(out, b)
			}
		}
		return out
	}
	a.core.Collected(sweep)
	a.core.Collected(sweep)
	if n := len(batches()); n != 0 {
		t.Fatalf("%d batches without a session", n)
	}
	a.open(1)
	got := batches()
	if len(got) != 2 || got[0].GetId() >= got[1].GetId() || got[0].GetReadings()[0].GetValue() != 1.5 || got[0].GetReadings()[0].GetStatus() != "ok" {
		t.Fatalf("%v", got)
	}
	if deps := a.lastReport(t).GetDependencies(); len(deps) != 1 || deps[0].GetName() != "/" {
		t.Errorf("dependencies %v", deps)
	}
	a.do(func() {
		a.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Kept{Kept: &agentv1.ReadingsKept{Id: got[0].GetId()}}}, w.now())
	})
	a.close()
	a.sent = nil
	a.open(2)
	if again := batches(); len(again) != 1 || again[0].GetId() != got[1].GetId() {
		t.Errorf("resent %v, want only what was not kept", again)
	}
}

// TestReadingsThatWereNotKeptAreSentAgain: a manager whose disk was full for a
// while has not kept what came before the batch that it answers.
func TestReadingsThatWereNotKeptAreSentAgain(t *testing.T) {
	w := newWorld(t, "A")
	a := w.hosts["A"]
	a.open(1)
	a.sent = nil
	for range 3 {
		a.core.Collected(Collected{Readings: []signal.Reading{{Component: "cpu", Signal: "cpu_busy", ObservedAt: w.now(), Status: signal.OK}}})
	}
	batches := func() (ids []uint64) {
		for _, m := range a.sent {
			if b := m.GetReadings(); b != nil {
				ids = append(ids, b.GetId())
			}
		}
		return ids
	}
	sent := batches()
	a.do(func() {
		a.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Kept{Kept: &agentv1.ReadingsKept{Id: sent[1]}}}, w.now())
	})
	a.close()
	a.sent = nil
	a.open(2)
	if again := batches(); !slices.Equal(again, []uint64{sent[0], sent[2]}) || a.core.readings.held != 2 {
		t.Errorf("sent %d again (%d readings held), want the first and the last of %d", again, a.core.readings.held, sent)
	}
}

func TestReadingsAreBounded(t *testing.T) {
	w := newWorld(t, "A")
	c := w.hosts["A"].core
	sweep := Collected{Readings: make([]signal.Reading, 50_000)}
	for range 6 {
		c.Collected(sweep)
	}
	if c.readings.held > readingsKept || len(c.readings.waiting) != 4 {
		t.Errorf("%d readings in %d batches are kept, want at most %d", c.readings.held, len(c.readings.waiting), readingsKept)
	}
}

func TestVirshIsAnswered(t *testing.T) {
	w, a, _ := stage(t)
	a.do(func() {
		a.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Virsh{Virsh: &agentv1.VirshRequest{Id: "v1", Args: []string{"list", "--all"}}}}, w.now())
	})
	w.settle()
	r := a.sent[len(a.sent)-1].GetVirsh()
	if r.GetId() != "v1" || string(r.GetStdout()) != "list --all" {
		t.Errorf("%v", r)
	}
}

func TestHandMigrationIsSeen(t *testing.T) {
	w, a, b := stage(t)
	must(t, a.host.StartMigrate(virt.MigrateParams{UUID: guest, DestURI: b.host.URI(), Persist: true}, func(error) {}))
	w.until("it runs on the other side", func() bool {
		return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING && a.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_NONE
	})
	if b.sees().GetLiveAttempt() != "" || b.sees().GetAttempt() != "" {
		t.Errorf("an attempt where there is none: %v", b.sees())
	}
}
