package manager

import (
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
	"github.com/vireo-kvm/vireo/pfa/signal"
	"github.com/vireo-kvm/vireo/store"
)

// assess scores components that were read once, at the time of the readings.
func assess(t *testing.T, needs []store.Dependency, readings ...signal.Reading) Assessment {
	t.Helper()
	model, err := pfa.Default()
	if err != nil {
		t.Fatal(err)
	}
	s := ModelScorer{Model: model}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	byComponent := map[string]Memory{}
	var list []Memory
	for _, r := range readings {
		m := byComponent[r.Component]
		if m == nil {
			if m, err = s.Memory(r.Component, nil); err != nil {
				t.Fatal(err)
			}
			byComponent[r.Component] = m
			list = append(list, m)
		}
		r.ObservedAt = at
		m.Observe(r)
	}
	return s.Assess("h1", list, needs, at)
}

func verdict(component, name string, good bool) signal.Reading {
	v := 0.0
	if good {
		v = 1
	}
	return signal.Reading{Component: component, Signal: name, Value: &v, Status: signal.OK}
}

// What a failing drive means depends on what needs it.
func TestWhatAFailingDriveMeans(t *testing.T) {
	root := store.Dependency{Component: "disk:A", Kind: "root", Name: "/"}
	for name, c := range map[string]struct {
		needs   []store.Dependency
		host    bool
		domains string
	}{
		"the root file system": {[]store.Dependency{{Component: "disk:B", Kind: "root", Name: "/"}}, true, ""},
		"swap":                 {[]store.Dependency{root, {Component: "disk:B", Kind: "swap", Name: "/dev/sdb2"}}, true, ""},
		"a part of the system": {[]store.Dependency{root, {Component: "disk:B", Kind: "mount", Name: "/var/log"}}, true, ""},
		"libvirt's directory":  {[]store.Dependency{root, {Component: "disk:B", Kind: "mount", Name: "/var/lib/libvirt"}}, true, ""},
		"one domain's image": {[]store.Dependency{root, {Component: "disk:B", Kind: "mount", Name: "/var/lib/libvirt/images"},
			{Component: "disk:B", Kind: "domain", Name: "g1"}}, false, "g1"},
		"somebody's data":   {[]store.Dependency{root, {Component: "disk:B", Kind: "mount", Name: "/srv/backup"}}, false, ""},
		"nothing":           {[]store.Dependency{root}, false, ""},
		"nobody has looked": {nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := assess(t, c.needs, verdict("disk:B", signal.SmartPassed, false))
			if a.Host.Hard != c.host {
				t.Errorf("the host fails: %v, want %v (%v)", a.Host.Hard, c.host, a.Notes)
			}
			var domains []string
			for _, threat := range a.Threats {
				domains = append(domains, threat.Domains...)
			}
			if got := strings.Join(domains, " "); got != c.domains {
				t.Errorf("threatens the domains %q, want %q", got, c.domains)
			}
		})
	}
}

// A collector is no part of a host. One that fails is worth a word, because what
// it reads is missing; one that works is not.
func TestCollectorsAreNoParts(t *testing.T) {
	shown := func(a Assessment) string {
		var names []string
		for _, c := range a.Components {
			names = append(names, c.Component)
		}
		return strings.Join(append(names, a.Notes...), "; ")
	}
	if got := shown(assess(t, nil, verdict("collector:smart", signal.CollectorOK, true))); strings.Contains(got, "collector") {
		t.Errorf("a collector that works: %s", got)
	}
	broken := signal.Reading{Component: "collector:smart", Signal: signal.CollectorOK, Status: signal.Failed, Text: "no answer in time"}
	if got := shown(assess(t, nil, broken)); !strings.Contains(got, "collector:smart") {
		t.Errorf("a collector that fails: %s", got)
	}
}
