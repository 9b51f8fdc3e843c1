// Package virttest is libvirt to test against: a fleet of hosts whose libvirtds
// know each other, and the contract that this fleet and a real libvirtd both
// fulfil.
//
// The fake is stateful. Domains are defined, boot, pause and end; migrations
// transfer memory over given time, iterate, converge or don't, stall, and end
// in all the ways libvirt's do, the dangerous ones included: a lost Finish
// lets the source run beside the target's copy, a source's libvirtd that is
// killed after its last word leaves the guest stopped for ever, a target's
// libvirtd that restarts kills a copy that is still inside Finish.
//
// Time is explicit: nothing happens but in Advance and in the calls
// themselves, and the package starts no goroutine (the contract does, to have
// blocking calls beside others). A test drives it step by step; a simulator
// asks Next for the time of the next change. Breakpoints put a fault exactly
// between two steps of a migration.
//
// What the fake does not have: QEMU's own image locks, lock managers, copied
// disks' contents, and libvirt's waiting for a domain's job lock (a call that
// would wait 30 s is refused at once with what libvirt says after the wait).
package virttest
