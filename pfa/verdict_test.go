package pfa

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// state builds a state from the latest values of signals.
func state(component string, values map[string]float64) *State {
	s := NewState(component)
	for _, name := range tracked { // in a fixed order
		if v, ok := values[name]; ok {
			s.Observe(value(component, name, 0, v))
		}
	}
	return s
}

func TestHardEvidence(t *testing.T) {
	tests := []struct {
		name      string
		component string
		values    map[string]float64
		severity  Severity // empty: no evidence
		words     string
	}{
		{"a drive that passes", "disk:X", map[string]float64{signal.SmartPassed: 1}, "", ""},
		{"a drive that fails itself", "disk:X", map[string]float64{signal.SmartPassed: 0}, Failing, "FAILED"},
		{"no warning", "disk:N", map[string]float64{signal.NVMeCriticalWarning: 0}, "", ""},
		{"spare", "disk:N", map[string]float64{signal.NVMeCriticalWarning: signal.NVMeWarnSpare}, Failing, "0x01: available spare below its threshold"},
		{"temperature only", "disk:N", map[string]float64{signal.NVMeCriticalWarning: signal.NVMeWarnTemperature}, Degraded, "temperature"},
		{"reliability", "disk:N", map[string]float64{signal.NVMeCriticalWarning: signal.NVMeWarnReliability}, Failing, "reliability degraded"},
		{"temperature and read-only", "disk:N", map[string]float64{signal.NVMeCriticalWarning: 10}, Failing, "read-only"},
		{"reserved bit", "disk:N", map[string]float64{signal.NVMeCriticalWarning: 128}, Degraded, "reserves"},
		{"spare under its threshold without the bit", "disk:N", map[string]float64{signal.NVMeAvailableSpare: 4, signal.NVMeSpareThreshold: 10}, Failing, "4 %"},
		{"spare at its threshold", "disk:N", map[string]float64{signal.NVMeAvailableSpare: 10, signal.NVMeSpareThreshold: 10}, "", ""},
		{"an attribute at its threshold", "disk:X", map[string]float64{signal.SmartExitStatus: 0x10}, Degraded, "pre-failure attribute"},
		{"old errors in a log only", "disk:X", map[string]float64{signal.SmartExitStatus: 0x40}, "", ""},
		{"corrected memory errors", "dimm:0/0/0", map[string]float64{signal.EDACCorrected: 900, signal.EDACUncorrected: 0}, "", ""},
		{"an uncorrected memory error", "dimm:0/0/0", map[string]float64{signal.EDACUncorrected: 1}, Failing, "1 uncorrected memory errors"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := defaultModel(t).Score(state(test.component, test.values), epoch)
			if test.severity == "" {
				if len(v.Hard) != 0 {
					t.Errorf("evidence %+v", v.Hard)
				}
				return
			}
			if len(v.Hard) != 1 || v.Hard[0].Severity != test.severity || !strings.Contains(v.Hard[0].Text, test.words) {
				t.Fatalf("evidence %+v, want %s with %q", v.Hard, test.severity, test.words)
			}
			if !v.Hard[0].Since.Equal(epoch) || v.IsFailing() != (test.severity == Failing) {
				t.Errorf("since %v, failing %v", v.Hard[0].Since, v.IsFailing())
			}
		})
	}
}

func TestHardEvidenceIsTakenBack(t *testing.T) {
	s := state("disk:X", map[string]float64{signal.SmartPassed: 0})
	s.Observe(value("disk:X", signal.SmartPassed, 1, 1))
	if e := s.Hard(); len(e) != 0 {
		t.Errorf("still %+v", e)
	}
}

func TestPriorsAreGradeD(t *testing.T) {
	m := defaultModel(t)
	for _, test := range []struct {
		component string
		quiet     map[string]float64
		signal    string
	}{
		{"disk:N", map[string]float64{signal.NVMePercentageUsed: 3, signal.NVMeMediaErrors: 0}, signal.NVMeMediaErrors},
		{"disk:F", map[string]float64{signal.DriveRotation: 0, signal.SmartReallocatedSectors: 0, signal.SmartReportedUncorrectable: 0}, signal.SmartReportedUncorrectable},
		{"disk:S", map[string]float64{signal.SCSIGrownDefects: 0}, signal.SCSIGrownDefects},
		{"dimm:0/0/0", map[string]float64{signal.EDACCorrected: 0}, signal.EDACCorrected},
	} {
		s := state(test.component, test.quiet)
		before := m.Score(s, epoch)
		s.Observe(value(test.component, test.signal, 24, 40))
		after := m.Score(s, axisTime(s.latest))
		if before.Grade != GradePrior || after.Grade != GradePrior {
			t.Errorf("%s: grades %s, %s", test.component, before.Grade, after.Grade)
		}
		if before.Risk.Month.Percent > 0.5 || after.Risk.Month.Percent < 4*before.Risk.Month.Percent {
			t.Errorf("%s: %g %% before, %g %% after errors", test.component, before.Risk.Month.Percent, after.Risk.Month.Percent)
		}
		if top := after.Top(1); len(top) != 1 || top[0].Signal != test.signal || top[0].From != 0 || top[0].Value != 40 {
			t.Errorf("%s: reasons %+v", test.component, top)
		}
		sum := 0.0
		for _, r := range after.Reasons {
			sum += r.Contribution
		}
		if math.Abs(sum-after.Logit) > 1e-9 {
			t.Errorf("%s: reasons sum to %g, logit %g", test.component, sum, after.Logit)
		}
	}
}

func TestScoreOfTheUnknown(t *testing.T) {
	m := defaultModel(t)
	if v := m.Score(NewState("disk:X"), epoch); v.Grade != GradePrior || !v.Modelled || !v.Observed.IsZero() || len(v.Top(3)) != 1 {
		t.Errorf("a disk of which nothing was read: %+v", v)
	}
	if v := m.Score(NewState("nic:eth0"), epoch); v.Modelled || v.Risk != (Risk{}) {
		t.Errorf("a network card: %+v", v)
	}
}

// A drive without some attributes is normal: no error, and no alarm.
func TestMissingAttributesAreNormal(t *testing.T) {
	m := defaultModel(t)
	for _, gone := range ataCounters[1:] {
		values := map[string]float64{signal.SmartPowerOnHours: 9000}
		for _, c := range ataCounters {
			if c != gone {
				values[tracked[c]] = 0
			}
		}
		s := state("disk:X", values)
		before := m.Score(s, epoch).Risk.Month.Percent
		s.Observe(value("disk:X", tracked[gone], 24, 30)) // begins to be recorded
		if r := s.find(gone).up.over(Days90, s.latest); r != 0 {
			t.Errorf("%s: missing to value is a rise of %g", tracked[gone], r)
		}
		if before > 1 {
			t.Errorf("without %s: %g %%", tracked[gone], before)
		}
	}
}

func verdict(component string, percent float64, failing bool) Verdict {
	v := Verdict{Component: component, At: epoch, Observed: epoch, Modelled: true}
	v.Risk.Month = Estimate{percent, percent / 2, min(100, percent*2)}
	if failing {
		v.Hard = []Evidence{{Severity: Failing, Text: "broken"}}
	}
	return v
}

func TestHostRisk(t *testing.T) {
	root := Dependency{Kind: NeedsRoot}
	swap := Dependency{Kind: NeedsSwap}
	g1, g2 := Dependency{Kind: NeedsDomain, Name: "g1"}, Dependency{Kind: NeedsDomain, Name: "g2"}
	bridge := Dependency{Kind: NeedsBridge, Name: "br0"}
	tests := []struct {
		name       string
		components []Verdict
		needs      Dependencies
		host, any  float64
		domains    map[string]float64
		failing    bool
		failingDom []string
		note       string
	}{
		{"the root disk empties the host", []Verdict{verdict("disk:A", 30, false)}, Dependencies{"disk:A": {root}}, 30, 30, nil, false, nil, ""},
		{"so does swap", []Verdict{verdict("disk:A", 30, false)}, Dependencies{"disk:A": {swap, g1}}, 30, 30, nil, false, nil, ""},
		{"one domain's disk moves that domain", []Verdict{verdict("disk:A", 30, false)}, Dependencies{"disk:A": {g1}}, 0, 30, map[string]float64{"g1": 30}, false, nil, ""},
		{"several domains' disk", []Verdict{verdict("disk:A", 30, true)}, Dependencies{"disk:A": {g2, g1, g2}}, 0, 30, map[string]float64{"g1": 30, "g2": 30}, false, []string{"g1", "g2"}, ""},
		{"a disk nothing needs is a notice", []Verdict{verdict("disk:A", 60, true)}, Dependencies{"disk:A": nil}, 0, 0, nil, false, nil, "nothing on this host needs it"},
		{"a quiet one is not even that", []Verdict{verdict("disk:A", 0.1, false)}, Dependencies{"disk:A": {}}, 0, 0, nil, false, nil, ""},
		{"unknown dependency is said and counted", []Verdict{verdict("disk:A", 30, false)}, nil, 30, 30, nil, false, nil, "not known"},
		{"a bridge's card", []Verdict{verdict("nic:eth0", 10, false)}, Dependencies{"nic:eth0": {bridge}}, 10, 10, nil, false, nil, ""},
		{"memory needs no table", []Verdict{verdict("dimm:0/0/0", 1, true)}, nil, 1, 1, nil, true, nil, ""},
		{"two disks of the host", []Verdict{verdict("disk:A", 50, false), verdict("disk:B", 50, true)}, Dependencies{"disk:A": {root}, "disk:B": {swap}}, 75, 75, nil, true, nil, ""},
		{"no model", []Verdict{{Component: "nic:eth0"}}, Dependencies{"nic:eth0": {bridge}}, 0, 0, nil, false, nil, "no model"},
		{"a collector that works", []Verdict{{Component: "collector:smart"}}, nil, 0, 0, nil, false, nil, "no model for collector:smart"},
		{"a collector that fails", []Verdict{{Component: "collector:smart", Observed: epoch, Hard: []Evidence{{Severity: Degraded, Text: "it hangs"}}}}, nil, 0, 0, nil, false, nil, "it hangs"},
		{"nothing read", []Verdict{{Component: "disk:A", Modelled: true}}, Dependencies{"disk:A": {root}}, 0, 0, nil, false, nil, "nothing read yet"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := HostRisk(test.components, test.needs, epoch)
			if v.Host.Month.Percent != test.host || v.Any.Month.Percent != test.any || v.Failing != test.failing {
				t.Errorf("host %g %%, any %g %%, failing %v", v.Host.Month.Percent, v.Any.Month.Percent, v.Failing)
			}
			if len(v.Domains) != len(test.domains) || !slices.Equal(v.FailingDomains, test.failingDom) {
				t.Errorf("domains %v, failing %v", v.Domains, v.FailingDomains)
			}
			for d, want := range test.domains {
				if v.Domains[d].Month.Percent != want {
					t.Errorf("%s: %g %%", d, v.Domains[d].Month.Percent)
				}
			}
			if test.note == "" && len(v.Notes) != 0 || test.note != "" && (len(v.Notes) != 1 || !strings.Contains(v.Notes[0], test.note)) {
				t.Errorf("notes %q, want %q", v.Notes, test.note)
			}
			for _, p := range v.Parts {
				if p.Text == "" {
					t.Errorf("part without words: %+v", p)
				}
			}
		})
	}
}

func TestFacts(t *testing.T) {
	s := state("disk:X", map[string]float64{signal.DriveSize: 4000787030016, signal.SmartTemperature: 31, signal.SmartCRCErrors: 2, signal.SmartPowerOnHours: 7000})
	fw := value("disk:X", signal.DriveFirmware, 0, 0)
	fw.Value, fw.Text = nil, "CC52"
	s.Observe(fw)
	texts := func() (out []string) {
		for _, f := range defaultModel(t).Score(s, axisTime(s.latest)).Facts {
			out = append(out, f.Text)
		}
		return out
	}
	want := []string{"firmware CC52", "drive size 3.6 TiB", "power-on hours (9) 7000", "drive temperature (194) 31 °C"}
	if got := texts(); !slices.Equal(got, want) {
		t.Errorf("facts %q, want %q", got, want)
	}
	s.Observe(value("disk:X", signal.SmartCRCErrors, 48, 9))
	want = append(want, "interface CRC errors (199) rose by 7 in 30 days: most often the cable or the port, not the disk")
	if got := texts(); !slices.Equal(got, want) {
		t.Errorf("facts %q, want %q", got, want)
	}
}

func TestFactsOfTheHost(t *testing.T) {
	tests := []struct {
		component, signal, text string
		values                  []float64
	}{
		{"cpu", signal.CPUBusy, "processor time in use 35 %", []float64{0.35}},
		{"memory", signal.MemoryTotal, "memory of the host 128 GiB", []float64{128 << 30}},
		{"disk:X", signal.DiskReadLatency, "mean time of a read 1.25ms", []float64{0.00125}},
		{"nic:eth0", signal.NICReceiveErrors, "packets received with errors rose by 5 in 30 days: cable, port or card", []float64{70000, 70005}},
		{"nic:eth0", signal.NICReceiveErrors, "", []float64{65535, 65535}},
		{"cpu", signal.CPUTemperature, "processor temperature, the hottest sensor 71 °C", []float64{71}},
	}
	for _, test := range tests {
		s := NewState(test.component)
		for i, v := range test.values {
			s.Observe(value(test.component, test.signal, i, v))
		}
		got := ""
		for _, f := range s.Facts() {
			got += f.Text
		}
		if got != test.text {
			t.Errorf("%s %v: %q, want %q", test.signal, test.values, got, test.text)
		}
	}
}

func TestFailedCollectorIsRemembered(t *testing.T) {
	s := NewState("collector:smart")
	r := value("collector:smart", signal.CollectorOK, 0, 0)
	r.Value, r.Status, r.Text = nil, signal.Failed, "smartctl hangs"
	s.Observe(r)
	if e := s.Hard(); len(e) != 1 || e[0].Severity != Degraded || !strings.Contains(e[0].Text, "smartctl hangs") {
		t.Errorf("evidence %+v", e)
	}
	s.Observe(value("collector:smart", signal.CollectorOK, 1, 1))
	if e := s.Hard(); len(e) != 0 {
		t.Errorf("it works again, and still %+v", e)
	}
}

func TestRiskIsScoresRisk(t *testing.T) {
	m := defaultModel(t)
	full := recorded(t, "Z300V1RR")
	dying := NewState(signal.DiskComponent(full.Serial))
	for _, r := range full.Readings("", full.Days[len(full.Days)-1].Date) {
		dying.Observe(r)
	}
	for _, s := range []*State{
		dying, NewState("disk:X"), NewState("nic:eth0"),
		state("disk:N", map[string]float64{signal.NVMePercentageUsed: 120, signal.NVMeMediaErrors: 7}),
		state("disk:S", map[string]float64{signal.SCSIGrownDefects: 9}),
		state("dimm:0/0/0", map[string]float64{signal.EDACCorrected: 9}),
	} {
		at := axisTime(s.latest)
		v := m.Score(s, at)
		risk, modelled := m.Risk(s, at)
		if risk != v.Risk || modelled != v.Modelled {
			t.Errorf("%s: risk %+v (%v), score's %+v (%v)", s.component, risk, modelled, v.Risk, v.Modelled)
		}
	}
}

func TestPercent(t *testing.T) {
	for p, want := range map[float64]string{
		0: "0 %", 0.0004: "<0.001 %", 0.0123: "0.012 %", 0.4: "0.4 %", 0.96: "0.96 %", 1: "1 %", 2.94: "2.9 %", 25: "25 %", 43.26: "43.3 %", 100: "100 %",
	} {
		if got := Percent(p); got != want {
			t.Errorf("Percent(%g) = %q, want %q", p, got, want)
		}
	}
}

// TestOneWordForManyPartitions: several partitions of a drive may hold parts of
// the same thing.
func TestOneWordForManyPartitions(t *testing.T) {
	v := Verdict{Component: "disk:A", Modelled: true, Observed: time.Unix(1, 0)}
	needs := Dependencies{"disk:A": {{Kind: NeedsRoot, Name: "/"}, {Kind: NeedsSwap}, {Kind: NeedsRoot, Name: "/var"}}}
	if got, want := HostRisk([]Verdict{v}, needs, time.Unix(2, 0)).Parts[0].Text, "holds the root file system, swap"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTopOfAHealthyDrive(t *testing.T) {
	baseline, together := Reason{Part: PartBaseline, Contribution: -5}, Reason{Part: PartCombination, Contribution: 0.2}
	rise := Reason{Part: PartSignal, Signal: signal.SmartPendingSectors, Contribution: 0.1}
	if got := (Verdict{Reasons: []Reason{baseline, together}}).Top(3); len(got) != 1 || got[0].Part != PartBaseline {
		t.Errorf("without a signal: %v, want the baseline", got)
	}
	if got := (Verdict{Reasons: []Reason{baseline, together, rise}}).Top(3); len(got) != 2 || got[0].Part != PartCombination || got[1].Part != PartSignal {
		t.Errorf("beside a signal: %v", got)
	}
}
