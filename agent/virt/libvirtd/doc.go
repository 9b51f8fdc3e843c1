// Package libvirtd is virt.Conn on a real libvirtd, by libvirt's own library:
// the only package with cgo for it.
//
// libvirt's calls can't be cancelled, so each runs in a goroutine of its own
// and its caller stops waiting when the context, or the timeout of Options,
// ends. A connection holds back further calls when too many are stuck, and is
// freed when it is closed and the last of them has come back; keepalive ends
// all of them when libvirtd itself is stuck.
//
// Events come from libvirt's default event loop, which one goroutine runs for
// the whole process from the first New on: libvirt has no way to take an event
// implementation back.
package libvirtd
