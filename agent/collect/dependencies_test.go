package collect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// machine is a host with most of what Linux can stack: sda (partitions for root
// and a mirror half), sdb (the other half), md0 under LVM, an NVMe drive with
// btrfs, a loop device, a bond under a VLAN under a bridge.
const machine = `
	dev/sda1 -> /dev/real-sda1
	dev/mapper/vg-images -> ../dm-0
	dev/disk/by-id/nvme-X -> ../../nvme0n1

	sys/devices/a/block/sda/dev: 8:0
	sys/devices/a/block/sda/device/vpd_pg80: ....SER-A
	sys/devices/a/block/sda/sda1/dev: 8:1
	sys/devices/a/block/sda/sda1/partition: 1
	sys/devices/a/block/sda/sda2/dev: 8:2
	sys/devices/a/block/sda/sda2/partition: 2
	sys/devices/b/block/sdb/dev: 8:16
	sys/devices/n/block/nvme0n1/dev: 259:0
	sys/devices/n/block/nvme0n1/device/serial: SER-N
	sys/devices/virtual/block/md0/dev: 9:0
	sys/devices/virtual/block/md0/slaves/sda2/
	sys/devices/virtual/block/md0/slaves/sdb/
	sys/devices/virtual/block/dm-0/dev: 253:0
	sys/devices/virtual/block/dm-0/slaves/md0/
	sys/devices/virtual/block/loop0/dev: 7:0
	sys/devices/virtual/block/loop0/loop/backing_file: /srv/loop.img
	sys/devices/virtual/block/loop1/dev: 7:1
	sys/devices/virtual/block/zram0/dev: 252:0

	sys/class/block/sda -> ../../devices/a/block/sda
	sys/class/block/sda1 -> ../../devices/a/block/sda/sda1
	sys/class/block/sda2 -> ../../devices/a/block/sda/sda2
	sys/class/block/sdb -> ../../devices/b/block/sdb
	sys/class/block/nvme0n1 -> ../../devices/n/block/nvme0n1
	sys/class/block/md0 -> ../../devices/virtual/block/md0
	sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0
	sys/class/block/loop0 -> ../../devices/virtual/block/loop0
	sys/class/block/loop1 -> ../../devices/virtual/block/loop1
	sys/class/block/zram0 -> ../../devices/virtual/block/zram0
	sys/block/sda -> ../devices/a/block/sda
	sys/block/nvme0n1 -> ../devices/n/block/nvme0n1
	sys/dev/block/8:1 -> ../../devices/a/block/sda/sda1

	sys/class/net/br0/bridge/
	sys/class/net/br0/lower_bond0.7 -> ../bond0.7
	sys/class/net/br0/lower_vnet3 -> ../vnet3
	sys/class/net/bond0.7/lower_bond0 -> ../bond0
	sys/class/net/bond0/lower_eth0 -> ../eth0
	sys/class/net/bond0/lower_eth1 -> ../eth1
	sys/class/net/eth0/device/
	sys/class/net/eth1/device/
	sys/class/net/eth2/device/
	sys/class/net/vnet3/
	sys/class/net/virbr0/bridge/

	mounts: 22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:20 / /proc rw - proc proc rw\n24 22 253:0 / /var/lib/libvirt/images rw shared:1 - xfs /dev/mapper/vg-images rw\n25 22 0:40 /@srv /srv rw - btrfs /dev/disk/by-id/nvme-X rw\n26 22 8:1 /etc/x /mnt/bind\040here rw - ext4 /dev/sda1 rw\n27 22 0:50 / /nfs rw - nfs4 server:/export rw\n28 22 7:0 / /mnt/loop rw - ext4 /dev/loop0 rw
	proc/swaps: Filename Type Size Used Priority\n/dev/dm-0 partition 100 0 -2\n/swapfile file 100 0 -3\n/dev/zram0 partition 100 0 100
`

func shown(deps []*agentv1.Dependency) string {
	var b strings.Builder
	for _, d := range deps {
		kind := strings.ToLower(strings.TrimPrefix(d.GetKind().String(), "DEPENDENCY_KIND_"))
		fmt.Fprintf(&b, "%s %s %s\n", d.GetComponent(), kind, d.GetName())
	}
	return b.String()
}

func of(root string) *Dependencies {
	sys := filepath.Join(root, "sys")
	return &Dependencies{Proc: filepath.Join(root, "proc"), Sys: sys, Dev: filepath.Join(root, "dev"),
		Mounts: filepath.Join(root, "mounts"), Drives: &Drives{Sys: sys}}
}

func TestDependencies(t *testing.T) {
	d := of(grow(t, machine))
	d.Drives.Learn("/dev/sdb", "SER-B")
	d.Domains = func(context.Context) ([]DomainDisk, error) {
		return []DomainDisk{
			{"uuid-1", "/var/lib/libvirt/images/one.qcow2"},
			{"uuid-1", "/var/lib/libvirt/images/one-data.qcow2"},
			{"uuid-2", "/dev/disk/by-id/nvme-X"},
			{"uuid-3", "/nfs/three.qcow2"},
			{"uuid-4", "/opt/four.img"},
			{"uuid-5", "/dev/mapper/gone"},
		}, nil
	}
	got, err := d.Collect(t.Context(), t0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, shown(got.Dependencies), `
		disk:SER-A root /
		disk:SER-A swap /dev/dm-0
		disk:SER-A swap /swapfile
		disk:SER-A domain uuid-1
		disk:SER-A domain uuid-4
		disk:SER-A domain uuid-5
		disk:SER-A mount /var/lib/libvirt/images
		disk:SER-B swap /dev/dm-0
		disk:SER-B domain uuid-1
		disk:SER-B mount /var/lib/libvirt/images
		disk:SER-N domain uuid-2
		disk:SER-N mount /mnt/loop
		disk:SER-N mount /srv
		nic:eth0 bridge br0
		nic:eth1 bridge br0
	`)
}

func TestDependenciesOfNothing(t *testing.T) {
	d := of(grow(t, `
		sys/class/
		proc/
		mounts: 1 0 0:30 / / rw - overlay overlay rw
	`))
	got, err := d.Collect(t.Context(), t0)
	if err != nil || len(got.Dependencies) != 0 || got.Dependencies == nil {
		t.Errorf("a container: %v, %v; want an empty list, not nil, which means nothing is known", got.Dependencies, err)
	}
}

func TestDependenciesAreAllOrNothing(t *testing.T) {
	d := of(grow(t, machine))
	d.Domains = func(context.Context) ([]DomainDisk, error) { return nil, errors.New("libvirtd is away") }
	if got, err := d.Collect(t.Context(), t0); err == nil || got.Dependencies != nil {
		t.Errorf("without libvirtd: %v, %v", got.Dependencies, err)
	}
	for name, tree := range map[string]string{
		"no mount table":      "sys/class/",
		"broken mount table":  "mounts: hello",
		"half a mount line":   "mounts: 22 1 8:1 / / rw -",
		"swaps of other kind": "mounts: 22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\t\tproc/swaps: Filename\\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := of(grow(t, tree+"\n\t\tproc/x: y")).Collect(t.Context(), t0); err == nil || got.Dependencies != nil {
				t.Errorf("%v, %v", got.Dependencies, err)
			}
		})
	}
}

// /sys of a sane kernel has no such thing; ours must end all the same.
func TestStackWithoutBottom(t *testing.T) {
	d := of(grow(t, `
		sys/class/block/dm-0/dev: 253:0
		sys/class/block/dm-0/slaves/dm-1/
		sys/class/block/dm-1/slaves/dm-0/
		sys/class/block/dm-1/slaves/dm-2/
		sys/class/net/br0/bridge/
		sys/class/net/br0/lower_br0/
		dev/dm-0 -> dm-0
		proc/
		mounts: 22 1 253:0 / / rw - ext4 /dev/dm-0 rw
	`))
	if _, err := d.Collect(t.Context(), t0); err != nil {
		t.Error(err)
	}
}
