package agent

import (
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

func TestPrepareRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		change       func(t *testing.T, b *station, p *agentv1.Prepare)
	}{
		{"bridge", `no bridge "br7"`, func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Bridges = []string{"br7"} }},
		{"network", `no active network "blue"`, func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Networks = []string{"blue"} }},
		{"machine", `machine type "pc-q35-99.0"`, func(_ *testing.T, b *station, p *agentv1.Prepare) {
			b.host.SetInfo(func(i *virt.HostInfo) { i.Machines = []string{"pc-q35-7.2"} })
			p.Domain.Machine = "pc-q35-99.0"
		}},
		{"image", "/nowhere/at/all.img", func(_ *testing.T, _ *station, p *agentv1.Prepare) {
			p.Domain.Disks = append(p.Domain.Disks, &agentv1.Disk{Target: "vdb", Type: "file", Source: "/nowhere/at/all.img"})
		}},
		{"name", `the name "g1" belongs to`, func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), guestXML("g1", "99999999-2222-3333-4444-555555555501"))
			must(t, err)
		}},
		{"other disks", "defined here with other disks: vda", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), strings.Replace(guestXML("g1", guest), "protocol='nbd' name='g1'", "protocol='nbd' name='other'", 1))
			must(t, err)
		}},
		{"managed save", "managed save", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
			must(t, err)
			b.host.SetManagedSave(guest, true)
		}},
		{"running here", "a process of the domain is here already", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			must(t, b.w.hosts["A"].conn().Destroy(t.Context(), guest, expectNow(t, b.w.hosts["A"])))
			_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
			must(t, err)
			must(t, b.conn().Start(t.Context(), guest))
		}},
		{"takes nothing", "takes nothing new", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			o := say(0, "", &agentv1.TakeNothing{On: true})
			b.mustSay(t, doneOutcome, "", o)
		}},
		{"another domain", "does not describe", func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Uuid = "other" }},
		{"CPU", "CPU", func(_ *testing.T, b *station, p *agentv1.Prepare) {
			p.Domain.CpuXml = "<cpu mode='custom' match='exact'><model>NoSuchModel</model></cpu>"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, b := stage(t)
			p := b.prepares()
			tc.change(t, b, p)
			b.mustSay(t, refusedOutcome, tc.reason, say(11, "m1", p))
			if d := b.core.domains[guest]; d.Attempt != nil || d.Epoch != 0 {
				t.Errorf("journaled though refused: %+v", d.Domain)
			}
		})
	}
}

func TestMemoryIsPromisedOnce(t *testing.T) {
	want := &agentv1.Domain{Uuid: guest, Name: "g1", MemoryKib: 600}
	g := Ground{Facts: Facts{MemoryAvailableKiB: 1000}}
	if why := judge(want, g, 0); why != nil {
		t.Errorf("600 of 1000 KiB: %v", why)
	}
	if why := judge(want, g, 500); len(why) != 1 || !strings.Contains(why[0], "memory") {
		t.Errorf("600 of 1000 KiB with 500 promised: %v", why)
	}
	_, _, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	if have := b.core.reserved(""); have != 131072 {
		t.Errorf("reserved %d KiB, want the guest's 131072", have)
	}
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	if have := b.core.reserved(""); have != 0 {
		t.Errorf("reserved %d KiB after the attempt was voided", have)
	}
}

// TestPrepareLooksAgainAfterItsSurvey: what was promised, or began, while libvirt
// was asked counts.
func TestPrepareLooksAgainAfterItsSurvey(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(t *testing.T, b *station)
	}{
		{"takes nothing", func(t *testing.T, b *station) {
			b.mustSay(t, doneOutcome, "", say(0, "", &agentv1.TakeNothing{On: true}))
		}},
		{"another session", func(_ *testing.T, b *station) { b.open(6) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, _, b := stage(t)
			o := say(11, "m1", b.prepares())
			b.give(o)
			if b.results[o.GetId()] != nil {
				t.Fatal("answered before libvirt was asked")
			}
			tc.meanwhile(t, b)
			w.until("the order has ended", func() bool { return !b.core.domains[guest].busy() })
			if a := b.core.domains[guest].Attempt; a != nil {
				t.Errorf("prepared all the same: %+v", a)
			}
		})
	}
}
