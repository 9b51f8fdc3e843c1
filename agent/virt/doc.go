// Package virt is the only door to libvirt: the types, the interface and the
// words. It holds no clock, no goroutine and no cgo, so that everything above
// it builds and tests without libvirt.
//
// Two implementations exist and pass the same suite (virttest.Contract):
// virt/libvirtd talks to a libvirtd, virt/virttest is a stateful fake whose
// hosts know each other and whose migrations do what libvirt's really do,
// the dangerous things included.
//
// # How to call it
//
// Every method of Conn blocks and wants a context; call it from an executor,
// never from the loop that owns state. A context without a deadline gets the
// implementation's own one (Migrate and Barrier excepted, see there). When the
// context ends first the error is IsTimeout: libvirt can't cancel a call, so
// the call may still take effect. OutcomeUnknown says for any error whether
// that is so; every other error is libvirt's own "no", and nothing is under
// way.
//
// Migrate and the questions for jobs do not hold up other calls of the same
// Conn: the real one gives them connections of their own (virt/libvirtd, line.go,
// says why).
//
// # Words
//
// State, reason and event names are those that virsh prints ("paused",
// "migrating"; "Suspended", "Migrated"): operators know them, and they are
// stable where libvirt's numbers need a table. A domain is Running when a QEMU
// process of it may execute vCPUs (any state but paused), Present when there
// is a process at all.
package virt
