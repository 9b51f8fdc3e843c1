package virt_test

import (
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func TestProtect(t *testing.T) {
	var (
		file    = virt.Disk{Target: "vda", Device: "disk", Type: "file", Source: "/a"}
		block   = virt.Disk{Target: "vdb", Device: "disk", Type: "block", Source: "/dev/b"}
		nbd     = virt.Disk{Target: "vdc", Device: "disk", Type: "network", Protocol: "nbd", Source: "c"}
		cdrom   = virt.Disk{Target: "sda", Device: "cdrom", Type: "file", Source: "/iso", ReadOnly: true}
		nbdROM  = virt.Disk{Target: "sdb", Device: "cdrom", Type: "network", Protocol: "http", Source: "i", ReadOnly: true}
		empty   = virt.Disk{Target: "sdc", Device: "cdrom", Type: "file"}
		shared  = virt.Disk{Target: "vdd", Device: "disk", Type: "block", Source: "/dev/s", Shared: true}
		volume  = virt.Disk{Target: "vde", Device: "disk", Type: "volume", Source: "p/v"}
		lease   = virt.Lease{Lockspace: "vireo", Key: "k", Path: "/shared"}
		disks   = func(d ...virt.Disk) virt.Config { return virt.Config{Disks: d} }
		leased  = virt.Config{Disks: []virt.Disk{nbd}, Leases: []virt.Lease{lease}}
		unknown = false
	)
	for _, c := range []struct {
		name    string
		config  virt.Config
		manager string
		known   bool
		want    bool
		reason  string
	}{
		{"file and block with lockd", disks(file, block, cdrom, empty), "lockd", true, true, "all writable disks"},
		{"sanlock", disks(file), "sanlock", true, true, "all writable disks"},
		{"a network disk is never locked", disks(file, nbd), "lockd", true, false, "vdc"},
		{"a read-only network disk does not matter", disks(file, nbdROM), "lockd", true, true, "all writable"},
		{"a shared disk refuses nobody", disks(shared), "lockd", true, false, "vdd"},
		{"a volume", disks(volume), "lockd", true, false, "vde"},
		{"a lease protects network disks too", leased, "lockd", true, true, "lease"},
		{"no lock manager", leased, "", true, false, "no lock manager"},
		{"nop is none", disks(file), "nop", true, false, "no lock manager"},
		{"nobody knows", leased, "lockd", unknown, false, "not known"},
		{"no disks at all", disks(), "lockd", true, false, "no disk"},
		{"only read-only ones", disks(cdrom), "lockd", true, false, "no disk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := virt.Protect(c.config, c.manager, c.known)
			if p.Protected != c.want || !strings.Contains(p.Reason, c.reason) {
				t.Errorf("%v because %q; want %v because of %q", p.Protected, p.Reason, c.want, c.reason)
			}
			if len(p.Disks) != len(c.config.Disks) {
				t.Errorf("%d disks explained of %d", len(p.Disks), len(c.config.Disks))
			}
			for _, d := range p.Disks {
				if d.Reason == "" {
					t.Errorf("disk %s without a reason", d.Target)
				}
			}
		})
	}
}

func TestPair(t *testing.T) {
	c := virt.Config{Disks: []virt.Disk{{Target: "vda", Device: "disk", Type: "file", Source: "/a"}}}
	lockd, sanlock, none := virt.Protect(c, "lockd", true), virt.Protect(c, "sanlock", true), virt.Protect(c, "", true)
	for _, k := range []struct {
		name   string
		a, b   virt.Protection
		shared bool
		want   bool
		reason string
	}{
		{"both with one lockspace", lockd, lockd, true, true, "all writable disks"},
		{"each its own lockspace", lockd, lockd, false, false, "share"},
		{"different managers", lockd, sanlock, true, false, "differ"},
		{"source has none", none, lockd, true, false, "no lock manager"},
		{"target has none", lockd, none, true, false, "no lock manager"},
	} {
		if ok, reason := virt.Pair(k.a, k.b, k.shared); ok != k.want || !strings.Contains(reason, k.reason) {
			t.Errorf("%s: %v because %q", k.name, ok, reason)
		}
	}
}
