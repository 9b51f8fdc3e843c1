// Package sim runs a whole vireo in one goroutine and in virtual time: the
// manager's Core over a real SQLite file, an agent's Core with a real journal
// on every host, the protocol of package migration between them; around them
// libvirt (agent/virt/virttest), hosts that crash and boot, users with their
// virsh, and a network that delays, loses, repeats and splits.
//
// Everything that can be chosen is drawn from one seed: the order of events,
// every delay, loss, kill, freeze and boot. The same seed gives the same log,
// byte for byte, so a failure comes again as often as it is wanted. After every
// event the invariants are checked against the truth, which no part of vireo
// can see; after every episode of faults the world must come to rest.
//
// The driver steers: faults are tied to the steps of a migration, to commits of
// the store, to writes of the journal and to the first seconds after a boot,
// because uniform chance would hardly ever meet them. Every second episode plays a
// scene: a start between a look and what follows from it, an abort that crosses
// the order to begin, a host that dies right behind the switch, a backup older than
// a move. Which one, when exactly and with which parts the seed says.
//
// Most days' hosts enforce: libvirt's hook is asked at every start, autostart,
// restore and arrival, by its own program, with agents that are dead, frozen or
// slow; every sixth day's only observe. Wall clocks are stepped; stores are
// restored from old backups.
//
// A second kind of world has several managers over test/etcdmodel, a model of etcd:
// one leads, the others stand by. Each lead is a Core of its own in a term of its
// own; leases are renewed, end, and are believed in as store/etcd does it. On top of
// all other faults the leader is killed, stopped in order, frozen past its lease in
// front of an input, in the middle of one, at a commit, or with a message for an
// agent in its hands, cut off from etcd, deaf to the answer of a commit that has
// happened, and hidden from agents. A manager whose lease has ended at etcd must not
// write, and says at most what it had looked at its lease for before it stood still.
// There the store is not restored from backups.
//
// What is not here: the loops around the Cores (manager.Manager, agent.Agent),
// TLS and Connect, libvirt's own image locks, copied disks, post-copy, and etcd's
// own nodes: to managers it is there, or not.
package sim
