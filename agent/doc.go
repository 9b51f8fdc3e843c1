// Package agent is the host's side of vireo: it says what is true on the host
// and carries out the manager's orders.
//
// Core is the state machine. It is single-threaded: orders, libvirt's events,
// ended processes, returned calls and ticks come in as values together with
// the time, and its effects leave through Outbox, Hands and Watch. It has no
// clock, no goroutine, no socket and no libvirt, so that a simulator can drive
// it. Agent is the loop around it: one goroutine owns the Core and joins it to
// the session, the connection to libvirt, the pidfds and the clock.
//
// Two rules carry everything else. The journal is written before libvirt is
// called and before anybody is answered; and what is reported is what libvirt,
// the kernel and the journal show, never what an order wanted.
//
// What does not belong here: deciding where a guest should be (manager and
// migration), talking to libvirt (agent/virt), the transport (agent/dial) and
// reading the host's hardware (agent/collect).
package agent
