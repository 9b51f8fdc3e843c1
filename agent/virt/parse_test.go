package virt_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestParseDomain reads a live document of libvirt 9.0 that has one of each.
func TestParseDomain(t *testing.T) {
	got, err := virt.ParseDomain(read(t, "testdata/live.xml"))
	if err != nil {
		t.Fatal(err)
	}
	want := virt.Domain{
		UUID: "7d3a0c44-0001-4b60-9f1c-5a6e0f6a1c01", Name: "web-7", Title: "the shop's front", ID: 12,
		State: virt.StateShutOff, Attempt: "01J9",
		MaxMemoryKiB: 2 << 20, MemoryKiB: 1 << 20, VCPUs: 2,
		Config: virt.Config{
			Type: "kvm", Arch: "x86_64", Machine: "pc-q35-7.2", Emulator: "/usr/bin/qemu-system-x86_64",
			CPUMode: "custom", CPUModel: "Skylake-Client",
			Disks: []virt.Disk{
				{Target: "vda", Device: "disk", Type: "network", Format: "raw", Source: "web-7", Protocol: "nbd", Hosts: []string{"storage:10809", "/run/nbd.sock"}},
				{Target: "vdb", Device: "disk", Type: "file", Format: "qcow2", Source: "/var/lib/libvirt/images/b.qcow2"},
				{Target: "vdc", Device: "disk", Type: "block", Format: "raw", Source: "/dev/vg/c", Shared: true},
				{Target: "vdd", Device: "disk", Type: "volume", Format: "raw", Source: "pool/vol"},
				{Target: "sda", Device: "cdrom", Type: "file", ReadOnly: true},
			},
			NICs: []virt.NIC{
				{MAC: "52:54:00:00:00:01", Type: "bridge", Bridge: "br0", Target: "vnet3"},
				{MAC: "52:54:00:00:00:02", Type: "network", Network: "default", Bridge: "virbr0", Target: "vnet4", Filter: "clean-traffic"},
				{MAC: "52:54:00:00:00:03", Type: "direct", Device: "eno1", Target: "macvtap0"},
			},
			Leases:      []virt.Lease{{Lockspace: "vireo", Key: "web-7", Path: "/shared/leases"}},
			HostDevices: []string{"pci"},
			NVRAM:       "/var/lib/libvirt/qemu/nvram/web-7_VARS.fd",
			TPM:         "emulator", Metadata: true,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseDomainOdd(t *testing.T) {
	for _, c := range []struct {
		name, in string
		check    func(virt.Domain) bool
	}{
		{"a definition has no id", "<domain type='kvm'><name>a</name></domain>", func(d virt.Domain) bool { return d.ID == virt.Inactive && !d.Present() }},
		{"upper-case UUID", "<domain><uuid> 7D3A0C44-0001-4B60-9F1C-5A6E0F6A1C01\n</uuid></domain>",
			func(d virt.Domain) bool { return d.UUID == "7d3a0c44-0001-4b60-9f1c-5a6e0f6a1c01" }},
		{"no vcpu element is one", "<domain/>", func(d virt.Domain) bool { return d.VCPUs == 1 }},
		{"memory in GiB", "<domain><memory unit='GiB'>3</memory></domain>", func(d virt.Domain) bool { return d.MaxMemoryKiB == 3<<20 && d.MemoryKiB == 3<<20 }},
		{"memory in bytes is rounded up", "<domain><memory unit='bytes'>1025</memory></domain>", func(d virt.Domain) bool { return d.MaxMemoryKiB == 2 }},
		{"memory in KB", "<domain><memory unit='KB'>1024</memory></domain>", func(d virt.Domain) bool { return d.MaxMemoryKiB == 1000 }},
		{"a CPU model without a mode is custom", "<domain><cpu match='exact'><model>Nehalem</model></cpu></domain>",
			func(d virt.Domain) bool { return d.CPUMode == "custom" && d.CPUModel == "Nehalem" }},
		{"NVRAM with a source", "<domain><os><nvram type='file'><source file='/n'/></nvram></os></domain>", func(d virt.Domain) bool { return d.NVRAM == "/n" }},
		{"an empty drive", "<domain><devices><disk type='file' device='cdrom'><target dev='sda'/></disk></devices></domain>",
			func(d virt.Domain) bool { return len(d.Disks) == 1 && d.Disks[0].Empty() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := virt.ParseDomain(c.in)
			if err != nil || !c.check(d) {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
	for _, bad := range []string{
		"", "<domain", "<network/>", "<domain><memory>much</memory></domain>", "<domain><memory unit='parsec'>1</memory></domain>",
		"<domain><memory unit='TiB'>18446744073709551615</memory></domain>", "<domain id='first'/>",
		"<domain><metadata>" + attemptOld + attemptOld + "</metadata></domain>",
	} {
		if d, err := virt.ParseDomain(bad); err == nil {
			t.Errorf("ParseDomain(%q) = %+v, want an error", bad, d)
		}
	}
}

func TestCPUElement(t *testing.T) {
	const cpu = "<cpu mode='custom'>\n  <model>Nehalem</model>\n</cpu>"
	if got, err := virt.CPUElement("<domain><name>a</name>" + cpu + "<os/></domain>"); got != cpu || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := virt.CPUElement("<domain><devices><cpu/></devices></domain>"); got != "" || err != nil {
		t.Errorf("a <cpu> that is not the domain's: %q, %v", got, err)
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		name                     string
		d                        virt.Domain
		present, running, paused bool
	}{
		{"running", virt.Domain{ID: 1, State: virt.StateRunning}, true, true, false},
		{"paused", virt.Domain{ID: 1, State: virt.StatePaused}, true, false, true},
		{"shut off", virt.Domain{ID: virt.Inactive, State: virt.StateShutOff}, false, false, false},
		{"in shutdown may still execute", virt.Domain{ID: 1, State: virt.StateInShutdown}, true, true, false},
		{"pmsuspended may wake by itself", virt.Domain{ID: 1, State: virt.StatePMSuspended}, true, true, false},
		{"crashed with its process kept", virt.Domain{ID: 1, State: virt.StateCrashed}, true, true, false},
		{"a process whose state nobody knows", virt.Domain{ID: 1, State: virt.StateNone}, true, true, false},
	} {
		if c.d.Present() != c.present || c.d.Running() != c.running || c.d.Paused() != c.paused {
			t.Errorf("%s: present %v, running %v, paused %v", c.name, c.d.Present(), c.d.Running(), c.d.Paused())
		}
	}
}

func TestExpect(t *testing.T) {
	d := virt.Domain{UUID: "u", ID: 7, State: virt.StatePaused, Attempt: "a"}
	want := virt.Expect{ID: 7, State: virt.StatePaused, Attempt: "a"}
	if err := want.Check(d); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*virt.Domain){
		"another process": func(d *virt.Domain) { d.ID = 8 },
		"it runs":         func(d *virt.Domain) { d.State = virt.StateRunning },
		"another attempt": func(d *virt.Domain) { d.Attempt = "b" },
		"no attempt":      func(d *virt.Domain) { d.Attempt = "" },
		"a job":           func(d *virt.Domain) { d.Job.Type = virt.JobUnbounded },
	} {
		seen := d
		change(&seen)
		if err := want.Check(seen); !virt.IsNotAsExpected(err) || !strings.Contains(err.Error(), "u") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
