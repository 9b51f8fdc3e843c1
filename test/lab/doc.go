// Package lab makes a fleet of KVM hosts on one machine, for the demo, the tests
// and the benchmarks: real libvirtd and QEMU (emulated, never KVM) on each host,
// real guests that move between them, and vireo's own daemons as real processes.
// It needs root.
//
// [Up] brings a fleet up, [Open] finds the one that is up, [Lab.Down] or [Down]
// takes it away. There is one at a time, under [Dir].
//
// # What it is made of
//
//	root namespace ── vireo-lab0 10.77.0.1
//	                      │
//	vireo-lan ── bridge lan 10.77.0.2: the switch; the guests' disks (qemu-nbd); the heartbeat receiver
//	   │  │  │
//	   │  │  └─ vireo-manager 10.77.0.3; with --store etcd vireo-manager2 … and vireo-etcd1 10.77.0.11 …
//	   │  └──── vireo-h2 10.77.1.2
//	   └─────── vireo-h1 10.77.1.1 ── bridge br0 ── guests g1 10.77.2.1 …
//
// Each of these but the first is a network namespace (visible to `ip netns`) and a
// mount, UTS and pid namespace with a first process of its own ([hostinit]) that
// supervises its services. A host's crash is one kill -9 of that process; what the
// host had on its disk (/etc, /var and the state directory: file systems in memory
// with a size) is there again when it boots, what it had under /run is not.
//
// # Nothing is left behind
//
// Before anything is made it is written to an append-only list ([madeLog]), with
// what it takes to find exactly that thing again: a process by its pid and start
// time, never by its name. [Down] goes through the list backwards. So it also
// tidies up after an Up that was killed at any point, and it touches nothing else.
//
// # Files
//
//	up.go, down.go    the order in which things are made and unmade
//	made.go           the list of what was made
//	network.go        namespaces, links, addresses
//	host.go           machines: their directories, boot, crash
//	libvirt.go        the configuration of a host's libvirt
//	guest.go          the guests' definitions
//	image.go, cpio.go the guests' kernel and initramfs, cached
//	open.go           finding and describing a lab that is up
//	exec.go           running commands inside
//	vireo.go          manager and agents, set up as an operator does it
//	operator.go       the operator's vireo against this lab
//	several.go        several managers and their etcd
//	crash.go          crash and boot
//	fault.go, link.go what else can be done to a lab: processes, disks, links
//	smart.go          a host's hardware: smartctl, /sys, the mount table
//	drive.go          recorded drives, and their days as smartctl's documents
//	replay.go         one day after the other
package lab
