package pfa

import (
	"fmt"
	"testing"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// A fleet like the training's has not drifted; one that counts otherwise, and
// older, has, and the features that moved are named.
func TestDrift(t *testing.T) {
	m := *defaultModel(t)
	drives := testFleet(120)
	schema := newATASchema()
	data := (&sampling{every: evaluateEvery}).sample(drives, schema)
	m.header.Reference = data.references()
	for i := range m.header.Reference {
		if !m.header.Reference[i].sound() {
			t.Fatalf("reference %+v", m.header.Reference[i])
		}
	}
	look := func(pending float64, hours Axis) DriftReport {
		d := m.NewDrift()
		for k := range drives {
			var readings []signal.Reading
			for _, r := range drives[k].Daily().Readings("h", drives[k].Last) {
				if r.Value != nil && r.Signal == signal.SmartPendingSectors {
					v := *r.Value + pending
					r.Value = &v
				}
				if r.Value != nil && r.Signal == signal.SmartPowerOnHours {
					v := *r.Value + float64(hours)
					r.Value = &v
				}
				readings = append(readings, r)
			}
			d.Add(signal.DiskComponent(drives[k].Serial), readings)
		}
		return d.Report()
	}
	same := look(0, 0)
	if same.Drives != len(drives) {
		t.Fatalf("%d drives", same.Drives)
	}
	for _, l := range same.Features {
		if l.Drifted {
			t.Errorf("drifted: %+v", l)
		}
	}
	other := look(40, 20000)
	drifted := map[string]bool{}
	for _, l := range other.Features {
		drifted[l.Name] = l.Drifted
	}
	for name, want := range map[string]bool{"smart_197_raw_level": true, "age": true, "smart_5_raw_level": false} {
		if drifted[name] != want {
			t.Errorf("%s drifted: %v, want %v (%v)", name, drifted[name], want, fmt.Sprint(other.Features[:3]))
		}
	}
}
