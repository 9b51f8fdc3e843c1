// Package hook is vireo's part in libvirt's hook for QEMU domains: what the
// program that libvirtd executes asks of the agent, what either of them decides
// from memory, what the program decides when the agent is dead, and the file
// that makes libvirtd execute it.
//
// libvirtd keeps the domain locked while a hook runs, and everybody's virsh list
// waits for it: nothing here may need libvirt. A hook that fails at "reconnect
// begin" kills a running guest: only prepare, migrate and restore, at their
// beginning, are ever looked at.
//
// Judge is the one place that says what the journal permits; the agent calls it
// with what it remembers, Alone with what the file says. What the journal does
// not hold only the leader can grant, and only the agent can ask it.
//
// What does not belong here: asking the leader and what follows from an answer
// (package agent), sockets and the clock (cmd).
package hook
