package virt

import "fmt"

// Protection says whether something below libvirt refuses a second run of a
// domain, and what each of its disks adds to that. It is about one host; two
// hosts protect a domain together when both say so with the same lock manager
// and a lockspace that both see (Pair).
type Protection struct {
	// Protected: a second run on a host that shares the lockspace is refused.
	Protected   bool
	LockManager string // "lockd", "sanlock", or "" when there is none
	// ByLease: an explicit <lease> protects, whatever the disks are.
	ByLease    bool
	Lockspaces []string // of the explicit leases
	Disks      []DiskProtection
	Reason     string // why not, or by what, in words
}

// DiskProtection is the part of one disk.
type DiskProtection struct {
	Target   string
	Lockable bool
	Reason   string
}

// Protect computes what protects a domain with this configuration on a host
// with that lock manager. known is false when the lock manager could not be
// found out: nothing is protected then.
func Protect(c Config, lockManager string, known bool) Protection {
	p := Protection{LockManager: lockManager}
	if lockManager == "nop" {
		p.LockManager = ""
	}
	writable, unlockable := 0, ""
	for _, d := range c.Disks {
		dp := lockable(d)
		if dp.needsLock {
			writable++
			if !dp.Lockable && unlockable == "" {
				unlockable = d.Target
			}
		}
		p.Disks = append(p.Disks, dp.DiskProtection)
	}
	for _, l := range c.Leases {
		p.Lockspaces = append(p.Lockspaces, l.Lockspace)
	}
	p.ByLease = len(c.Leases) > 0
	switch {
	case !known:
		p.Reason = "the host's lock manager is not known"
	case p.LockManager == "":
		p.Reason = "the host has no lock manager"
	case p.ByLease:
		p.Protected, p.Reason = true, "by an explicit lease"
	case unlockable != "":
		p.Reason = fmt.Sprintf("disk %s can't be locked", unlockable)
	case writable == 0:
		p.Reason = "there is no disk to lock"
	default:
		p.Protected, p.Reason = true, "by locks on all writable disks"
	}
	return p
}

// Pair says whether the domain is protected between two hosts. sharedLockspace
// says that both see the same lockspace directory: nobody can tell that from
// one host, and a local lockspace protects one host only.
func Pair(a, b Protection, sharedLockspace bool) (bool, string) {
	switch {
	case !a.Protected:
		return false, a.Reason
	case !b.Protected:
		return false, b.Reason
	case a.LockManager != b.LockManager:
		return false, fmt.Sprintf("lock managers differ: %s and %s", a.LockManager, b.LockManager)
	case !sharedLockspace:
		return false, "the hosts do not share a lockspace"
	}
	return true, a.Reason
}

type diskLock struct {
	DiskProtection
	needsLock bool // more than one writer would harm it
}

// lockable follows libvirt's domain lock code: file, block and directory
// sources are registered as resources, network disks never; read-only disks
// need none, shared ones get a shared lock that refuses nobody who shares.
func lockable(d Disk) diskLock {
	out := diskLock{DiskProtection: DiskProtection{Target: d.Target}}
	switch {
	case d.Empty():
		out.Reason = "no medium"
	case d.ReadOnly || d.Device == "cdrom":
		out.Reason = "read-only"
	case d.Shared:
		out.needsLock, out.Reason = true, "shareable: more than one writer is allowed"
	case d.Type == "file" || d.Type == "block" || d.Type == "dir":
		out.needsLock, out.Lockable, out.Reason = true, true, d.Type
	case d.Type == "network":
		out.needsLock, out.Reason = true, fmt.Sprintf("network disk (%s): libvirt never locks these", d.Protocol)
	default:
		out.needsLock, out.Reason = true, fmt.Sprintf("disk of type %s: libvirt does not lock these", d.Type)
	}
	return out
}
