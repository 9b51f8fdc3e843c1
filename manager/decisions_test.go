package manager

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// read lets a host's agent send one reading, after the model was told what to
// think of it.
func (w *world) read(host string, p30 float64) {
	w.pass(time.Second)
	w.score.set(host, p30)
	h := w.hosts[host]
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: &agentv1.ReadingBatch{BootId: h.boot, Id: h.next(), Readings: []*agentv1.Reading{{
		Component: "disk:S1", Signal: signal.SmartReallocatedSectors, Value: proto.Float64(p30), Unit: "count", ObservedAt: timestamppb.New(w.now), Seq: h.seq, Status: "ok",
	}}}}})
	w.settle()
}

func (w *world) decisions(host string) []store.Decision {
	var out []store.Decision
	if err := w.db.View(context.Background(), func(r store.Reader) error {
		all, err := r.Decisions(store.DecisionFilter{Host: host})
		if err != nil {
			return err
		}
		for _, d := range all {
			full, err := r.Decision(d.ID)
			if err != nil {
				return err
			}
			out = append(out, full)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestFailureOutrun: risk rises day by day; the host is watched, quarantined and
// emptied, and every decision can be replayed from what is stored with it.
func TestFailureOutrun(t *testing.T) {
	w := fleet(t)
	for _, c := range []struct {
		risk float64
		want store.HostState
	}{{0.4, store.Healthy}, {2.5, store.Watch}, {11, store.Quarantined}, {40, store.Evacuating}} {
		w.read("h1", c.risk)
		if got := w.state("h1"); got != c.want {
			t.Fatalf("at risk %g h1 is %s, want %s", c.risk, got, c.want)
		}
	}
	w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
	ds := w.decisions("h1")
	if len(ds) != 3 {
		t.Fatalf("%d decisions, want watch, quarantine, evacuate", len(ds))
	}
	for _, d := range ds {
		var e evidence
		if err := json.Unmarshal(d.Evidence, &e); err != nil {
			t.Fatal(err)
		}
		again := decide.Decide(e.Snapshot, e.Policy, e.Snapshot.At)
		if len(again) != 1 || !reflect.DeepEqual(again[0], e.Decision) {
			t.Errorf("%s %s: replayed %+v\nwant %+v", d.ID, d.Kind, again, e.Decision)
		}
		if d.Summary == "" || d.Model != "fake" || len(d.Reasons) == 0 {
			t.Errorf("decision %+v", d)
		}
	}
	if got := ds[0]; got.Kind != store.DecideEvacuate || got.Threshold != 25 || len(got.Placements) != 4 || len(got.Placements[0].Rejected) != 1 {
		t.Errorf("evacuation: %s, threshold %g, placements %+v", got.Kind, got.Threshold, got.Placements)
	}
	kept, err := w.db.History(context.Background(), store.Query{Host: "h1"})
	if err != nil || len(kept) != 4 {
		t.Errorf("%d readings kept, %v", len(kept), err)
	}
}

func TestRecommendWaitsForApproval(t *testing.T) {
	w := fleet(t)
	w.core.pol.Decide.Mode, w.pol.Decide.Mode = decide.Recommend, decide.Recommend
	w.read("h1", 40)
	w.pass(5 * time.Second)
	ds := w.decisions("h1")
	if len(ds) != 1 || ds[0].Status != store.Waiting || w.state("h1") != store.Quarantined || len(w.rows()) != 0 {
		t.Fatalf("%d decisions, %v, h1 %s, %d rows", len(ds), ds, w.state("h1"), len(w.rows()))
	}
	w.restart()
	w.pass(5 * time.Second)
	if ds = w.decisions("h1"); len(ds) != 1 || w.state("h1") != store.Quarantined {
		t.Fatalf("after a restart: %d decisions, h1 %s", len(ds), w.state("h1"))
	}
	if _, err := w.core.resolve(w.now, "d-none", true, "alice", ""); err == nil {
		t.Error("a decision that does not exist was approved")
	}
	w.do(func() {
		if _, err := w.core.resolve(w.now, ds[0].ID, true, "alice", "yes"); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.core.resolve(w.now, ds[0].ID, false, "bob", "no"); err == nil {
		t.Error("an approved decision was rejected")
	}
	w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
	w.until("the decision is done", time.Minute, func() bool {
		d := w.decisions("h1")[0]
		return d.Status == store.Done && d.ResolvedBy == "alice" && strings.Contains(d.Resolution, "all guests have left")
	})
}

// TestEmptiedByHandAndReturned: a host that was well when a person emptied it is
// well when it is given back, also by a manager that was not there.
func TestEmptiedByHandAndReturned(t *testing.T) {
	w := fleet(t)
	w.evacuate("h1")
	w.restart()
	w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
	w.do(func() {
		if err := w.core.giveBack(w.now, "h1", "alice", ""); err != nil {
			t.Error(err)
		}
	})
	if w.state("h1") != store.Healthy {
		t.Errorf("h1 is %s", w.state("h1"))
	}
}

func TestRejectedAndReturned(t *testing.T) {
	w := fleet(t)
	w.core.pol.Decide.Mode = decide.Recommend
	w.read("h1", 40)
	id := w.decisions("h1")[0].ID
	w.do(func() {
		if _, err := w.core.resolve(w.now, id, false, "alice", "the disk is being replaced"); err != nil {
			t.Error(err)
		}
	})
	w.pass(3 * time.Second)
	w.read("h1", 41)
	if ds := w.decisions("h1"); len(ds) != 1 || ds[0].Status != store.Rejected {
		t.Errorf("the same question again: %+v", ds)
	}
	w.evacuate("h1")
	w.until("h1 is drained", time.Minute, func() bool { return w.state("h1") == store.Drained })
	w.do(func() {
		if err := w.core.giveBack(w.now, "h1", "alice", "it will hold a week"); err != nil {
			t.Error(err)
		}
	})
	w.core.pol.Decide.Mode = decide.Auto
	w.pass(5 * time.Second)
	w.read("h1", 42)
	if w.state("h1") != store.Quarantined || w.hosts["h1"].takes {
		t.Errorf("h1 is %s, takes nothing: %v", w.state("h1"), w.hosts["h1"].takes)
	}
	if w.score.risk["h1"] = (decide.Risk{P30d: 42, Hard: true, Reasons: []decide.Reason{{Signal: "smart_passed", Text: "FAILED"}}}); true {
		h := w.hosts["h1"]
		h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: &agentv1.ReadingBatch{BootId: h.boot, Readings: []*agentv1.Reading{{
			Component: "disk:S1", Signal: signal.SmartPassed, Value: proto.Float64(0), ObservedAt: timestamppb.New(w.now), Status: "ok"}}}}})
		w.settle()
	}
	w.pass(time.Second)
	if w.state("h1") != store.Drained { // it is empty already
		t.Errorf("worse news changed nothing: h1 is %s", w.state("h1"))
	}
}

func TestManyHostsTurnBadTogether(t *testing.T) {
	w := newWorld(t, "h1", "h2", "h3", "h4")
	w.guest("h1", "g1", 128)
	w.guest("h2", "g2", 128)
	w.pass(2 * time.Second)
	w.score.set("h1", 40)
	w.score.set("h2", 40)
	for _, h := range []string{"h1", "h2"} { // both bad before either was acted upon
		w.core.observe(w.core.hosts[h], []signal.Reading{{Component: "disk:S", Signal: signal.SmartReallocatedSectors, ObservedAt: w.now}}, w.now)
	}
	w.pass(5 * time.Second)
	acted := 0
	for _, h := range []string{"h1", "h2"} {
		if w.state(h) == store.Evacuating || w.state(h) == store.Drained {
			acted++
		}
	}
	if acted > 1 {
		t.Errorf("%d hosts were acted upon", acted)
	}
	held := 0
	for _, h := range []string{"h1", "h2"} {
		for _, d := range w.decisions(h) {
			if d.Status == store.HeldBack {
				held++
			}
		}
	}
	if held != 1 {
		t.Errorf("%d decisions held back, want one", held)
	}
}

func TestThreatMovesOneDomain(t *testing.T) {
	w := fleet(t)
	w.score.threats["h1"] = []decide.Threat{{Component: "disk:S1", Risk: decide.Risk{P30d: 60, Reasons: []decide.Reason{{Signal: "smart_5_raw", Text: "bad", Weight: 1}}},
		Domains: []string{"uuid-g2"}, Impact: "holds disks of g2"}}
	w.read("h1", 0.3)
	w.until("g2 has left", time.Minute, func() bool { return w.where("g2") != "" && w.where("g2") != "h1" })
	w.until("the decision is done", time.Minute, func() bool {
		ds := w.decisions("h1")
		return len(ds) == 1 && ds[0].Kind == store.DecideMoveDomains && ds[0].Status == store.Done
	})
	for _, g := range []string{"g1", "g3", "g4"} {
		if w.where(g) != "h1" {
			t.Errorf("%s runs on %q", g, w.where(g))
		}
	}
	w.read("h1", 0.31)
	w.pass(10 * time.Second)
	if ds := w.decisions("h1"); len(ds) != 1 {
		t.Errorf("%d decisions about one disk", len(ds))
	}
	w.score.threats["h1"][0].Risk = decide.Risk{P30d: 1}
	w.read("h1", 0.31)
	if ds := w.decisions("h1"); len(ds) != 1 || ds[0].Status != store.Superseded {
		t.Errorf("the risk is gone, and %+v", ds[0].Status)
	}
}

func TestReadingsThatTheCatalogueDoesNotKnowAreDropped(t *testing.T) {
	w := fleet(t)
	h := w.hosts["h1"]
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: &agentv1.ReadingBatch{BootId: h.boot, Id: 7, Readings: []*agentv1.Reading{
		{Component: "disk:S1", Signal: "made_up", Value: proto.Float64(1), ObservedAt: timestamppb.New(w.now), Status: "ok"},
		{Component: "disk:S1", Signal: signal.SmartPowerOnHours, Value: proto.Float64(1), ObservedAt: timestamppb.New(w.now), Status: "ok"},
	}}}})
	w.settle()
	kept, err := w.db.History(context.Background(), store.Query{Host: "h1"})
	if err != nil || len(kept) != 1 || kept[0].Signal != signal.SmartPowerOnHours {
		t.Errorf("kept %v, %v", kept, err)
	}
	if w.core.book.dropped != 1 {
		t.Errorf("%d dropped", w.core.book.dropped)
	}
}

// TestMemorySurvivesARestart: a new manager scores as the old one did, from the
// snapshot and from the readings since.
func TestMemorySurvivesARestart(t *testing.T) {
	w := fleet(t)
	w.score.threats["h1"] = []decide.Threat{{Component: "disk:S2", Impact: "holds a disk of uuid-g1"}}
	w.core.hosts["h1"].Facts.Dependencies = []store.Dependency{{Component: "disk:S2", Kind: "domain", Name: "uuid-g1"}}
	w.read("h1", 3)
	if w.core.hosts["h1"].risk.now.Threats[0].Impact != "holds a disk of g1" {
		t.Errorf("impact %q", w.core.hosts["h1"].risk.now.Threats[0].Impact)
	}
	if w.state("h1") != store.Watch {
		t.Fatalf("h1 is %s", w.state("h1"))
	}
	w.restart()
	h := w.core.hosts["h1"]
	if h.risk.memories["disk:S1"] == nil || h.Risk.P30d != 3 || h.State != store.Watch {
		t.Errorf("after a restart: %d memories, risk %g, %s", len(h.risk.memories), h.Risk.P30d, h.State)
	}
	w.pass(5 * time.Second)
	if n := len(w.decisions("h1")); n != 1 {
		t.Errorf("%d decisions about one score", n)
	}
}
