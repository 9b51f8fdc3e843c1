package agent

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// TestMarksOfTheHook: what the hook has decided while the agent did not answer
// counts, before the agent gives the domain up and after it has been restarted.
func TestMarksOfTheHook(t *testing.T) {
	w := enforcing(t, "h1")
	s := w.hosts["h1"]
	s.confirmed(5)
	path := filepath.Join(s.dir, "journal")
	release := &agentv1.Order{Id: "release", Epoch: 5, Body: &agentv1.Order_Release{Release: &agentv1.Release{}}}
	if err := journal.LeaveMark(path, journal.Mark{UUID: guest, Name: "g1", At: w.now()}); err != nil {
		t.Fatal(err)
	}
	r := s.order(release)
	if r.GetOutcome() != agentv1.Outcome_OUTCOME_REFUSED || !strings.Contains(r.GetReason(), "the hook has let it start") {
		t.Errorf("release over a mark: %v", r)
	}
	if d := s.files.State().Domains[guest]; d.Phase != journal.Held || !d.Confirmed {
		t.Errorf("journaled %+v", d)
	}
	w.pass(2 * time.Second)
	if journal.MarkOf(path, guest) != nil || len(s.files.State().Domains[guest].Starts) != 0 {
		t.Error("the mark has not been taken over and settled")
	}
	if err := journal.LeaveMark(path, journal.Mark{UUID: guest, Name: "g1", At: w.now(), Ground: journal.AgentDown}); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.start()
	s.open(1)
	if !slices.ContainsFunc(s.sent, func(m *agentv1.AgentMessage) bool {
		return strings.Contains(m.GetNote().GetText(), "started without a claim (agent down)")
	}) {
		t.Error("a restarted agent says nothing of the start")
	}
	// With nothing in the way it is released.
	w.pass(2 * time.Second)
	release.Id, release.Session = "later", ""
	if r := s.order(release); r.GetOutcome() != agentv1.Outcome_OUTCOME_DONE {
		t.Errorf("release: %v", r)
	}
}

// TestAutostartIsMadeUpFor: after a boot nothing is held; what was refused then
// starts when the leader grants it, and what somebody else holds does not.
func TestAutostartIsMadeUpFor(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refused bool // by the leader
		how     string
	}{{"granted", false, "agent"}, {"held elsewhere", true, "agent"}, {"refused by the hook alone", false, "mark"}, {"confirmed", false, "confirm"}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "h1")
			s := w.hosts["h1"]
			s.hook = HookConfig{Mode: configs.HookEnforce}
			c := s.conn()
			if _, err := c.Define(t.Context(), guestXML("g1", guest)); err != nil {
				t.Fatal(err)
			}
			if err := c.SetAutostart(t.Context(), guest, true); err != nil {
				t.Fatal(err)
			}
			s.kill()
			if tt.how == "mark" {
				if err := journal.LeaveMark(filepath.Join(s.dir, "journal"), journal.Mark{UUID: guest, Name: "g1", At: w.now(), Refused: true}); err != nil {
					t.Fatal(err)
				}
				s.start()
			} else {
				s.start()
				says(t, "autostart", *s.hooked(hook.Prepare, guestXML("g1", guest)), "the manager is away")
			}
			s.kill()
			s.start() // it is remembered
			s.open(1)
			if tt.how == "confirm" {
				s.confirmed(4)
			}
			w.pass(time.Second)
			if tt.how != "confirm" {
				p := s.request()
				if p.GetKind() != agentv1.StartKind_START_KIND_AUTOSTART {
					t.Fatalf("asks %v", p)
				}
				if !s.reports[len(s.reports)-1].GetRefusedStarts()[0].GetOwed() {
					t.Errorf("not reported as owed: %v", s.reports[len(s.reports)-1].GetRefusedStarts())
				}
				epoch := uint64(9)
				if tt.refused {
					epoch = 0
				}
				s.grants(p, epoch, nil)
			}
			w.pass(3 * time.Second)
			if on := w.fleet.RunningOn(guest); (len(on) == 1) == tt.refused {
				t.Errorf("runs on %v", on)
			}
			if d := s.files.State().Domains[guest]; !d.Owed.IsZero() || len(d.Starts) != 0 {
				t.Errorf("journaled %+v", d)
			}
			w.pass(30 * time.Second)
			asked := 0
			for _, m := range s.sent {
				if m.GetPermission() != nil {
					asked++
				}
			}
			if tt.how != "confirm" && asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
