// Package whole runs the house in one process: a real manager on a real store,
// real agents with their journals, and libvirts that do in virtual time what
// libvirt was measured to do. Only TLS, the kernel and QEMU are not there.
package whole
