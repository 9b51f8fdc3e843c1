package manager

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

func TestProtection(t *testing.T) {
	file := &agentv1.Disk{Target: "vda", Type: "file", Source: "/shared/a.qcow2"}
	for name, c := range map[string]struct {
		disks []*agentv1.Disk
		locks string // the lock manager here
		want  string // why not, of h2; "" protected
	}{
		"shared image files": {[]*agentv1.Disk{file, {Target: "sda", Type: "file", ReadOnly: true, Source: "/iso"}}, "", ""},
		"a network disk":     {[]*agentv1.Disk{file, {Target: "vdb", Type: "network", Source: "nbd:x"}}, "", "vdb: a network disk"},
		"a local file":       {[]*agentv1.Disk{{Target: "vda", Type: "file", Source: "/a", Local: true}}, "", "local file system"},
		"shareable":          {[]*agentv1.Disk{{Target: "vda", Type: "file", Source: "/a", Shareable: true}}, "", "shareable"},
		"a block device":     {[]*agentv1.Disk{{Target: "vda", Type: "block", Source: "/dev/a"}}, "", "lock manager"},
		"one that lockd has": {[]*agentv1.Disk{{Target: "vda", Type: "block", Source: "/dev/a"}}, "lockd", "h2 has no lock manager"},
		"no disk":            {nil, "", "no disk"},
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(t)
			w.shut("h2", "x", 1)
			w.pass(2 * time.Second)
			s := w.core.hosts["h1"].seen["uuid-g1"]
			s.Disks, s.LockManager, s.Lockable = c.disks, c.locks, c.locks != ""
			row := &managerv1.DomainRow{Uuid: "uuid-g1", Host: "h1"}
			w.core.withProtection(row)
			if len(row.Protection) != 2 || len(row.Disks) != len(c.disks) {
				t.Fatalf("row %v", row)
			}
			p := row.Protection[0]
			if p.Host != "h2" || p.Protected != (c.want == "") || !strings.Contains(p.Why, c.want) {
				t.Errorf("%v, want %q", p, c.want)
			}
			bare := 4 // the fleet's disks are on the network
			if c.want == "" {
				bare = 3
			}
			if got := w.core.hosts["h1"].bare(); got != bare {
				t.Errorf("%d are unprotected, want %d", got, bare)
			}
		})
	}
}
