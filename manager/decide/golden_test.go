package decide

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func policy() Policy {
	return Policy{
		Mode: Auto, Watch: Threshold{2, 1}, Quarantine: Threshold{10, 5}, Evacuate: Threshold{25, 12},
		Hold: 0, HoldReadings: 1, MaxHosts: 2, MaxPercent: 34, Window: time.Hour,
		ReserveKiB: 1 << 20, Overcommit: 1, Bandwidth: 112 << 20, PerSource: 2,
	}
}

// fleet is n hosts of 16 GiB, healthy, of one make.
func fleet(n int) Snapshot {
	s := Snapshot{At: now, Automation: true}
	for i := range n {
		s.Hosts = append(s.Hosts, Host{
			Name: fmt.Sprintf("h%d", i+1), State: Healthy, Alive: true, MemoryKiB: 16 << 20, Arch: "x86_64",
			Risk:         Risk{P24h: .01, P7d: .1, P30d: .3, Grade: "C", Model: "test"},
			CPUXML:       "<cpu><arch>x86_64</arch><model>Skylake-Server</model><vendor>Intel</vendor><feature name='vmx'/></cpu>",
			MachineTypes: []string{"pc-i440fx-7.2", "pc-q35-7.2"}, Bridges: []string{"br0"}, Networks: []string{"default"},
		})
	}
	return s
}

func (s *Snapshot) host(name string) *Host {
	h, ok := s.HostNamed(name)
	if !ok {
		panic(name)
	}
	return h
}

func (s *Snapshot) guest(host, name string, gib uint64) *Domain {
	s.Domains = append(s.Domains, Domain{
		UUID: "uuid-" + name, Name: name, Host: host, MemoryKiB: gib << 20, Running: true, Phase: "held", Machine: "pc-q35-7.2",
		CPUXML: "<cpu mode='custom' match='exact'><model>qemu64</model></cpu>", Bridges: []string{"br0"},
		Disks: []Disk{{Target: "vda", Source: "nbd:" + name + "@10.0.0.1"}},
	})
	s.host(host).ClaimedKiB += gib << 20
	s.host(host).Present = append(s.host(host).Present, Present{UUID: "uuid-" + name, Name: name, Active: true, Disks: []string{"nbd:" + name + "@10.0.0.1"}})
	return &s.Domains[len(s.Domains)-1]
}

// bad gives a host a score that has stood long enough for its level.
func (s *Snapshot) bad(name string, p30 float64) *Host {
	h := s.host(name)
	h.Risk = Risk{P24h: p30 / 20, P7d: p30 / 4, P30d: p30, Low30d: p30 / 2, High30d: min(99, 2*p30), Grade: "C", Model: "test", Component: "disk:S1",
		Reasons: []Reason{{Signal: "smart_187_raw", Text: "reported uncorrectable errors 0 → 24 in 3 days", Weight: 2.1}}}
	h.Hold.Level = policy().asks(p30, Fine)
	return h
}

func (s *Snapshot) hard(name string) *Host {
	h := s.bad(name, 3)
	h.Risk.Hard = true
	h.Risk.Reasons = append([]Reason{{Signal: "smart_passed", Text: "the drive's own SMART verdict is FAILED"}}, h.Risk.Reasons...)
	h.Hold = Hold{Level: LevelEvacuate, Toward: LevelEvacuate}
	return h
}

var scenarios = []struct {
	name string
	make func() (Snapshot, Policy)
}{
	{"nothing_to_do", func() (Snapshot, Policy) { s := fleet(3); s.guest("h1", "g1", 1); return s, policy() }},
	{"watch", func() (Snapshot, Policy) { s := fleet(3); s.bad("h1", 2.4); return s, policy() }},
	{"quarantine", func() (Snapshot, Policy) {
		s := fleet(3)
		s.bad("h1", 11).State = Watch
		return s, policy()
	}},
	{"evacuate", func() (Snapshot, Policy) {
		s := fleet(3)
		s.guest("h1", "small", 1)
		s.guest("h1", "large", 8)
		s.guest("h2", "other", 4)
		s.bad("h1", 40)
		return s, policy()
	}},
	{"hard_evidence", func() (Snapshot, Policy) {
		s := fleet(3)
		s.guest("h1", "g1", 1)
		s.hard("h1")
		return s, policy()
	}},
	{"recommend_waits", func() (Snapshot, Policy) {
		s := fleet(3)
		s.guest("h1", "g1", 1)
		s.bad("h1", 40)
		p := policy()
		p.Mode = Recommend
		return s, p
	}},
	{"shadow_records", func() (Snapshot, Policy) {
		s := fleet(3)
		s.guest("h1", "g1", 1)
		s.bad("h1", 40)
		p := policy()
		p.Mode = Shadow
		return s, p
	}},
	{"waiting_is_not_repeated", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.bad("h1", 40)
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-1", Kind: KindEvacuate, Status: Waiting, Cause: Cause(h.Risk, LevelEvacuate)}
		p := policy()
		p.Mode = Recommend
		return s, p
	}},
	{"rejected_is_not_repeated", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.bad("h1", 40)
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-1", Kind: KindEvacuate, Status: Rejected, Cause: Cause(h.Risk, LevelEvacuate)}
		return s, policy()
	}},
	{"rejected_and_then_worse", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.hard("h1")
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-1", Kind: KindEvacuate, Status: Rejected, Cause: "evacuate 0"}
		return s, policy()
	}},
	{"risk_fell_while_waiting", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.bad("h1", 7)
		h.Hold.Level = LevelQuarantine
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-1", Kind: KindEvacuate, Status: Waiting, Cause: "evacuate 0"}
		return s, policy()
	}},
	{"mode_became_auto", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.bad("h1", 40)
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-1", Kind: KindEvacuate, Status: Waiting, Cause: Cause(h.Risk, LevelEvacuate)}
		return s, policy()
	}},
	{"many_together", func() (Snapshot, Policy) {
		s := fleet(4)
		for _, h := range []string{"h1", "h2", "h3"} {
			s.bad(h, 40)
			s.guest(h, "g-"+h, 1)
		}
		return s, policy()
	}},
	{"one_after_another", func() (Snapshot, Policy) {
		s := fleet(4)
		s.bad("h1", 40).State = Evacuating
		s.bad("h2", 40)
		s.Acted = []Acted{{"h1", now.Add(-30 * time.Minute)}}
		return s, policy()
	}},
	{"window_over", func() (Snapshot, Policy) {
		s := fleet(4)
		s.bad("h1", 40).State = Drained
		h := s.bad("h2", 40)
		h.State, h.Open = Quarantined, &OpenDecision{ID: "d-2", Kind: KindEvacuate, Status: HeldBack, Cause: Cause(h.Risk, LevelEvacuate)}
		s.Acted = []Acted{{"h1", now.Add(-61 * time.Minute)}}
		return s, policy()
	}},
	{"automation_off", func() (Snapshot, Policy) {
		s := fleet(3)
		s.bad("h1", 40)
		s.Automation = false
		return s, policy()
	}},
	{"silent_host_is_left_alone", func() (Snapshot, Policy) {
		s := fleet(3)
		h := s.bad("h1", 40)
		h.Alive, h.AliveWhy = false, "its agent went away"
		return s, policy()
	}},
	{"spare_disk_is_a_notice", func() (Snapshot, Policy) {
		s := fleet(3)
		s.host("h1").Threats = []Threat{{Component: "disk:S9", Risk: Risk{P30d: 60}, Hold: Hold{Level: LevelEvacuate}, Impact: "nothing on this host needs it"}}
		return s, policy()
	}},
	{"one_domains_disk", func() (Snapshot, Policy) {
		s := fleet(3)
		s.guest("h1", "g1", 1)
		s.guest("h1", "g2", 1)
		s.host("h1").Threats = []Threat{{Component: "disk:S9", Risk: Risk{P30d: 60}, Hold: Hold{Level: LevelEvacuate}, Domains: []string{"uuid-g2"}, Impact: "holds disks of uuid-g2"}}
		return s, policy()
	}},
	{"risk_gone", func() (Snapshot, Policy) {
		s := fleet(3)
		s.host("h1").State = Watch
		return s, policy()
	}},
}

func TestScenarios(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			s, p := sc.make()
			got := Decide(s, p, now)
			golden(t, sc.name, got)

			// Evidence replays: the stored JSON gives the same answer.
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var again Snapshot
			if err := json.Unmarshal(text, &again); err != nil {
				t.Fatal(err)
			}
			if replayed := Decide(again, p, now); !reflect.DeepEqual(replayed, got) {
				t.Errorf("replayed from JSON: %+v\nwant %+v", replayed, got)
			}
			if text2, _ := json.Marshal(s); !bytes.Equal(text, text2) {
				t.Error("deciding changed the snapshot")
			}
		})
	}
}

func golden(t *testing.T, name string, got any) {
	t.Helper()
	path := filepath.Join("testdata", name+".json")
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s: differs (go test -rewrite writes it anew)\n%s", path, text)
	}
}
