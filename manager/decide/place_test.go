package decide

import (
	"strings"
	"testing"
	"time"
)

// TestFilters: one thing is wrong with h2, and h2 is the only other host.
func TestFilters(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *Snapshot, h2 *Host, d *Domain)
		want string
	}{
		{"fits", func(*Snapshot, *Host, *Domain) {}, ""},
		{"on watch still fits", func(_ *Snapshot, h *Host, _ *Domain) { h.State = Watch }, ""},
		{"silent", func(_ *Snapshot, h *Host, _ *Domain) { h.Alive, h.AliveWhy = false, "no report" }, "unknown: no report"},
		{"quarantined", func(_ *Snapshot, h *Host, _ *Domain) { h.State = Quarantined }, "it is quarantined"},
		{"evacuating", func(_ *Snapshot, h *Host, _ *Domain) { h.State = Evacuating }, "it is evacuating"},
		{"drained", func(_ *Snapshot, h *Host, _ *Domain) { h.State = Drained }, "it is drained"},
		{"maintenance", func(_ *Snapshot, h *Host, _ *Domain) { h.State = Maintenance }, "it is maintenance"},
		{"about to be quarantined", func(_ *Snapshot, h *Host, _ *Domain) { h.Risk.P30d, h.Hold.Level = 14, LevelQuarantine }, "at risk itself: 14 %"},
		{"hard evidence", func(_ *Snapshot, h *Host, _ *Domain) { h.Risk.Hard = true }, "at risk itself: hard evidence"},
		{"takes nothing", func(_ *Snapshot, h *Host, _ *Domain) { h.TakesNothing = true }, "takes nothing new"},
		{"full", func(_ *Snapshot, h *Host, _ *Domain) { h.ClaimedKiB = 14 << 20 }, "memory: 2.0 GiB needed, 1.0 GiB free of 15.0 GiB"},
		{"exactly full", func(_ *Snapshot, h *Host, _ *Domain) { h.ClaimedKiB = 13 << 20 }, ""},
		{"over its capacity already", func(_ *Snapshot, h *Host, _ *Domain) { h.ClaimedKiB = 20 << 20 }, "0 KiB free"},
		{"no memory reported", func(_ *Snapshot, h *Host, _ *Domain) { h.MemoryKiB = 0 }, "not said how much memory"},
		{"other architecture", func(_ *Snapshot, h *Host, _ *Domain) { h.Arch = "aarch64" }, "architecture aarch64"},
		{"machine type", func(_ *Snapshot, _ *Host, d *Domain) { d.Machine = "pc-q35-9.0" }, "machine type pc-q35-9.0"},
		{"bridge", func(_ *Snapshot, _ *Host, d *Domain) { d.Bridges = []string{"br0", "br7"} }, "no bridge br7"},
		{"network", func(_ *Snapshot, _ *Host, d *Domain) { d.Networks = []string{"lab"} }, "no network lab"},
		{"host-passthrough, same", func(_ *Snapshot, _ *Host, d *Domain) { d.CPUXML = "<cpu mode='host-passthrough'/>" }, ""},
		{"host-passthrough, other model", func(_ *Snapshot, h *Host, d *Domain) {
			d.CPUXML, h.CPUXML = "<cpu mode='host-passthrough'/>", "<cpu><model>EPYC</model><vendor>AMD</vendor></cpu>"
		}, "its processor is EPYC, not Skylake-Server"},
		{"host-passthrough, fewer features", func(_ *Snapshot, h *Host, d *Domain) {
			d.CPUXML, h.CPUXML = "<cpu mode='host-passthrough'/>", "<cpu><model>Skylake-Server</model><vendor>Intel</vendor></cpu>"
		}, "its processor lacks vmx"},
		{"name taken", func(_ *Snapshot, h *Host, d *Domain) {
			h.Present = []Present{{UUID: "other", Name: d.Name}}
		}, "another domain is called g1 there"},
		{"UUID defined with other disks", func(_ *Snapshot, h *Host, d *Domain) {
			h.Present = []Present{{UUID: d.UUID, Name: d.Name, Disks: []string{"/var/lib/clone.img"}}}
		}, "defined there with other disks"},
		{"UUID defined with the same disks", func(_ *Snapshot, h *Host, d *Domain) {
			h.Present = []Present{{UUID: d.UUID, Name: d.Name, Disks: []string{d.Disks[0].Source}}}
		}, ""},
		{"UUID active", func(_ *Snapshot, h *Host, d *Domain) {
			h.Present = []Present{{UUID: d.UUID, Name: d.Name, Active: true, Disks: []string{d.Disks[0].Source}}}
		}, "active there"},
		{"refused lately", func(_ *Snapshot, _ *Host, d *Domain) {
			d.Refused = map[string]string{"h2": "it refused lately: no image"}
		}, "refused lately: no image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fleet(2)
			s.guest("h1", "g1", 2)
			c.do(&s, s.host("h2"), &s.Domains[0])
			p := Place(s, policy(), []string{"uuid-g1"}, now)[0]
			if c.want == "" {
				if p.Target != "h2" {
					t.Fatalf("no target: %+v", p)
				}
				return
			}
			if p.Target != "" || len(p.Rejected) != 1 || !strings.Contains(p.Rejected[0].Reason, c.want) {
				t.Errorf("%+v\nwant h2 rejected: %q", p, c.want)
			}
		})
	}
}

// TestBlocked: what keeps a domain where it is, whatever the targets.
func TestBlocked(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *Snapshot, d *Domain)
		want string
	}{
		{"local disk", func(_ *Snapshot, d *Domain) { d.Disks[0].Local = true }, "local file system of h1"},
		{"host device", func(_ *Snapshot, d *Domain) { d.Blockers = []string{"host device 0000:03:00.0"} }, "0000:03:00.0"},
		{"moving", func(_ *Snapshot, d *Domain) { d.Moving = "m-1" }, "m-1"},
		{"ambiguous", func(_ *Snapshot, d *Domain) { d.Phase = "ambiguous" }, "more than one host"},
		{"transferring", func(_ *Snapshot, d *Domain) { d.Phase = "transferring" }, "its claim is transferring"},
		{"shut off", func(_ *Snapshot, d *Domain) { d.Running = false }, "does not run"},
		{"cooldown", func(_ *Snapshot, d *Domain) { d.NotBefore, d.NotBeforeWhy = now.Add(time.Minute), "moved lately" }, "moved lately"},
		{"silent source", func(s *Snapshot, _ *Domain) { s.host("h1").Alive, s.host("h1").AliveWhy = false, "gone" }, "its host is unknown: gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fleet(3)
			s.guest("h1", "g1", 2)
			c.do(&s, &s.Domains[0])
			p := Place(s, policy(), []string{"uuid-g1"}, now)[0]
			if p.Target != "" || !p.Blocked || !strings.Contains(p.Why, c.want) {
				t.Errorf("%+v\nwant blocked: %q", p, c.want)
			}
		})
	}
}

func TestOrderOfTargets(t *testing.T) {
	target := func(do func(s *Snapshot)) Placement {
		s := fleet(4)
		s.guest("h1", "g1", 2)
		do(&s)
		return Place(s, policy(), []string{"uuid-g1"}, now)[0]
	}
	for _, c := range []struct {
		name string
		do   func(s *Snapshot)
		want string
	}{
		{"equal: by name", func(*Snapshot) {}, "h2"},
		{"emptiest", func(s *Snapshot) {
			s.host("h2").ClaimedKiB, s.host("h3").ClaimedKiB = 4<<20, 1<<20
			s.host("h4").ClaimedKiB = 2 << 20
		}, "h3"},
		{"risk before balance", func(s *Snapshot) {
			s.host("h2").Risk.P30d = 1.6
			s.host("h3").ClaimedKiB, s.host("h4").ClaimedKiB = 8<<20, 9<<20
		}, "h3"},
		{"risks below the model's resolution are equal", func(s *Snapshot) {
			s.host("h2").Risk.P30d = .31
			s.host("h2").ClaimedKiB = 0
			s.host("h3").ClaimedKiB = 1 << 20
			s.host("h4").ClaimedKiB = 1 << 20
		}, "h2"},
		{"preferred before balance", func(s *Snapshot) { s.host("h1").PreferredTarget = "h4"; s.host("h4").ClaimedKiB = 9 << 20 }, "h4"},
		{"risk before preferred", func(s *Snapshot) { s.host("h1").PreferredTarget = "h4"; s.host("h4").Risk.P30d = 1.9 }, "h2"},
		{"watch last", func(s *Snapshot) {
			s.host("h2").State, s.host("h3").State = Watch, Watch
			s.host("h4").ClaimedKiB = 12 << 20
		}, "h4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := target(c.do)
			if p.Target != c.want {
				t.Errorf("target %q, want %q: %+v", p.Target, c.want, p)
			}
			if len(p.Rejected) != 2 {
				t.Errorf("%d rejected, want each of the others with its reason: %+v", len(p.Rejected), p.Rejected)
			}
		})
	}
}

// TestWholeHostAtOnce: each choice counts against the next, the largest first,
// and what does not fit is named.
func TestWholeHostAtOnce(t *testing.T) {
	s := fleet(3)
	for _, g := range []struct {
		name string
		gib  uint64
	}{{"a", 3}, {"b", 9}, {"c", 8}, {"d", 6}, {"e", 7}} {
		s.guest("h1", g.name, g.gib)
	}
	used := map[string]uint64{}
	stay := 0
	for _, p := range PlaceHost(s, policy(), "h1", now) {
		used[p.Target] += p.MemoryKiB
		if p.Target == "" {
			stay++
			if len(p.Rejected) != 2 || !strings.Contains(p.Rejected[0].Reason, "memory") {
				t.Errorf("%s stays: %+v", p.Name, p)
			}
		}
	}
	for _, h := range []string{"h2", "h3"} {
		if used[h] > 15<<20 || used[h] < 12<<20 {
			t.Errorf("%s gets %d KiB", h, used[h])
		}
	}
	if stay != 1 {
		t.Errorf("%d stay; 33 GiB into 2 × 15 leaves exactly one of these", stay)
	}
}

func TestHold(t *testing.T) {
	p := policy()
	p.Hold, p.HoldReadings = 10*time.Minute, 2
	type look struct {
		after time.Duration
		score float64
		fresh bool
		want  Level
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"one spike is nothing", []look{{0, 40, true, Fine}, {time.Minute, 0, true, Fine}, {time.Hour, 40, true, Fine}}},
		{"two readings, long enough", []look{{0, 40, true, Fine}, {5 * time.Minute, 40, true, Fine}, {10 * time.Minute, 40, false, LevelEvacuate}}},
		{"time alone is not enough", []look{{0, 40, true, Fine}, {time.Hour, 40, false, Fine}, {time.Hour + 1, 40, true, LevelEvacuate}}},
		{"leaves only below leave", []look{{0, 11, true, Fine}, {10 * time.Minute, 11, true, LevelQuarantine}, {20 * time.Minute, 6, true, LevelQuarantine},
			{30 * time.Minute, 4, true, LevelQuarantine}, {40 * time.Minute, 4, true, LevelWatch}}},
		{"wobble below enter does not count", []look{{0, 24, true, Fine}, {10 * time.Minute, 26, true, LevelQuarantine}, {15 * time.Minute, 24, true, LevelQuarantine},
			{25 * time.Minute, 26, true, LevelQuarantine}, {30 * time.Minute, 24, true, LevelQuarantine}}},
		{"slow rise passes the levels", []look{{0, 3, true, Fine}, {10 * time.Minute, 3, true, LevelWatch}, {20 * time.Minute, 12, true, LevelWatch}, {30 * time.Minute, 13, true, LevelQuarantine}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Hold
			for i, l := range c.looks {
				h = h.Observe(Risk{P30d: l.score}, l.fresh, p, now.Add(l.after))
				if h.Level != l.want {
					t.Fatalf("look %d: level %s, want %s (%+v)", i, h.Level, l.want, h)
				}
			}
		})
	}
	if h := (Hold{}).Observe(Risk{P30d: 1, Hard: true}, true, p, now); h.Level != LevelEvacuate {
		t.Errorf("hard evidence waits: %+v", h)
	}
}

func TestBrakesNeverForbidTheOnlyOne(t *testing.T) {
	p := policy()
	p.MaxHosts, p.MaxPercent = 5, 1
	if got := p.limit(3); got != 1 {
		t.Errorf("1%% of three hosts is %d, want one", got)
	}
	p.MaxPercent = 50
	if got := p.limit(20); got != 5 {
		t.Errorf("limit %d, want max_hosts", got)
	}
}

func TestWhyNotTheOtherFittingHost(t *testing.T) {
	best := &Host{Name: "h2", Risk: Risk{P30d: 0.3}}
	tests := map[string]struct {
		host      Host
		after     float64
		preferred bool
		want      string
	}{
		"watched":              {Host{State: Watch, Risk: Risk{P30d: 2.94}}, 0.1, false, "fits, but it is on watch (risk 2.9 %)"},
		"riskier":              {Host{Risk: Risk{P30d: 1.2}}, 0.1, false, "fits, but its risk is higher: 1.2 %, against 0.3 % of h2"},
		"fuller by a hair":     {Host{}, 0.1004, false, "fits, but would be fuller: 10.04 % of its memory claimed with it, against 10.00 % of h2"},
		"fuller":               {Host{}, 0.6, false, "fits, but would be fuller: 60.0 % of its memory claimed with it, against 10.0 % of h2"},
		"equal":                {Host{}, 0.1, false, "fits equally well; h2 comes first by name"},
		"another is preferred": {Host{}, 0.1, true, "fits, but h2 is the preferred target"},
	}
	for name, test := range tests {
		if got := worse(&test.host, test.after, best, 0.1, test.preferred); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
