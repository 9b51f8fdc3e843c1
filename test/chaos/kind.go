package chaos

// Kind is something that is done to a fleet. Its value is printed.
type Kind string

// What is done to the parts that run as processes.
const (
	KillManager  Kind = "manager killed"
	KillAgent    Kind = "agent killed"
	KillLibvirtd Kind = "libvirtd killed"
	KillQEMU     Kind = "QEMU killed"
	StopManager  Kind = "manager stopped for a while"
	StopAgent    Kind = "agent stopped for a while"
	StopLibvirtd Kind = "libvirtd stopped for a while"
	StopQEMU     Kind = "QEMU stopped for a while"
)

// What is done to links, disks and whole hosts.
const (
	CutAgent        Kind = "host cut off from every manager"
	CutAgentOneWay  Kind = "host cut off from every manager one way"
	CutHosts        Kind = "hosts cut off from each other"
	CutHostsOneWay  Kind = "hosts cut off one way"
	CutAtCompletion Kind = "hosts cut off as a transfer completes"
	FullDisk        Kind = "manager's disk full"
	CrashHost       Kind = "host crashed and booted"
)

// What is done to a cluster of etcd, when there is one.
const (
	KillEtcd     Kind = "etcd node killed"
	StopEtcd     Kind = "etcd node stopped for a while"
	LoseMajority Kind = "etcd without its majority"
	CutEtcd      Kind = "manager cut off from etcd"
)

// What operators and users do.
const (
	Evacuate    Kind = "host evacuated"
	MoveByHand  Kind = "guest moved by hand"
	DoubleStart Kind = "guest started a second time"
)

// anyTime are the faults of a round that empties a host.
var anyTime = []Kind{
	KillManager, KillAgent, KillLibvirtd, KillQEMU, StopManager, StopAgent, StopLibvirtd, StopQEMU,
	CutAgent, CutAgentOneWay, CutHosts, CutHostsOneWay, CutAtCompletion, FullDisk, CrashHost,
}

// deciders are the faults of a user's round: none of them makes a plain `virsh
// migrate` leave a guest running twice.
var deciders = []Kind{KillManager, KillAgent, StopManager, StopAgent, CutAgent, FullDisk}

// withEtcd are the faults that a cluster of etcd adds to a round that empties a host.
var withEtcd = []Kind{KillEtcd, StopEtcd, LoseMajority, CutEtcd}

// Kinds returns everything that a run does.
func Kinds(etcd bool) []Kind { return append(faultKinds(etcd), Evacuate, MoveByHand, DoubleStart) }

// faultKinds are those of a round that empties a host.
func faultKinds(etcd bool) []Kind {
	kinds := append([]Kind{}, anyTime...)
	if etcd {
		kinds = append(kinds, withEtcd...)
	}
	return kinds
}
