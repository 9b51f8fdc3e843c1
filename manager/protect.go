package manager

import (
	"fmt"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// Whether a domain is protected (a second run is refused by something below
// libvirt) is found out per disk and pair of hosts, and never assumed: what
// nobody can tell counts as no.

// lockOf says what refuses a second writer of one disk on another host.
func lockOf(d *agentv1.Disk) (locked bool, why string) {
	switch {
	case d.GetReadOnly() || d.GetSource() == "":
		return true, "nothing is written to it"
	case d.GetShareable():
		return false, "shareable: more than one writer is allowed"
	case d.GetLocal():
		return false, "on a local file system: a second run would write to another disk"
	case d.GetType() == "file":
		return true, "an image file on a file system that hosts share: QEMU's own lock"
	case d.GetType() == "network":
		return false, "a network disk: libvirt never locks these"
	}
	return false, fmt.Sprintf("type %s: only a lock manager of libvirt's would lock it, and whether hosts share its lockspace nobody can tell", d.GetType())
}

// unprotected says why a second run of a domain would not be refused, "" when
// all its disks are locked.
func unprotected(d *agentv1.Domain) string {
	if len(d.GetDisks()) == 0 {
		return "it has no disk that could be locked"
	}
	for _, disk := range d.GetDisks() {
		if locked, why := lockOf(disk); !locked {
			return disk.GetTarget() + ": " + why
		}
	}
	return ""
}

// pairs is the protection of a domain between its host and every other.
func (c *Core) pairs(h *host, d *agentv1.Domain) []*managerv1.Protection {
	var out []*managerv1.Protection
	why := unprotected(d)
	for _, o := range c.sortedHosts() {
		if o == h || !o.Revoked.IsZero() {
			continue
		}
		p := &managerv1.Protection{Host: o.Name, Protected: why == "", Why: why}
		switch {
		case why == "":
			p.Why = "QEMU's locks on all writable disks"
		case d.GetLockable() && d.GetLockManager() != "":
			p.Why += "; " + lockManagers(d.GetLockManager(), o)
		}
		out = append(out, p)
	}
	return out
}

// lockManagers says why libvirt's locks do not count between two hosts.
func lockManagers(mine string, o *host) string {
	theirs, known := "", false
	for _, s := range o.seen {
		theirs, known = s.GetLockManager(), true
	}
	switch {
	case !known || !o.alive():
		return fmt.Sprintf("libvirt locks it here (%s), and what %s uses is not known", mine, o.Name)
	case theirs == "":
		return fmt.Sprintf("libvirt locks it here (%s), and %s has no lock manager", mine, o.Name)
	case theirs != mine:
		return fmt.Sprintf("libvirt locks it here (%s), and %s uses %s", mine, o.Name, theirs)
	}
	return fmt.Sprintf("both use %s: if they share its lockspace a second run is refused, which cannot be seen from here", mine)
}

// withProtection adds to a row what protects its domain.
func (c *Core) withProtection(row *managerv1.DomainRow) {
	h := c.hosts[row.GetHost()]
	if h == nil || h.seen[row.GetUuid()] == nil {
		return
	}
	d := h.seen[row.GetUuid()].Domain
	row.Protection = c.pairs(h, d)
	for _, disk := range d.GetDisks() {
		locked, why := lockOf(disk)
		row.Disks = append(row.Disks, &managerv1.DomainDisk{Target: disk.GetTarget(), Type: disk.GetType(), Source: disk.GetSource(), Locked: locked, Why: why})
	}
}

// bare counts the guests on a host whose second run nothing would refuse.
func (h *host) bare() (n int) {
	for _, s := range h.seen {
		if active(s.Domain) && !incoming(s.Domain) && unprotected(s.Domain) != "" {
			n++
		}
	}
	return n
}
