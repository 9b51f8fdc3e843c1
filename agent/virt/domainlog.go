package virt

import "regexp"

// What libvirt writes to a domain's log (qemuProcessLaunch, qemuProcessStop in
// libvirt's qemu_process.c), among what QEMU itself says there:
//
//	2026-11-24 00:08:33.107+0000: starting up libvirt version: 9.0.0, …
//	2026-11-24 00:08:39.142+0000: shutting down, reason=migrated
//
// A libvirtd that finds the process gone when it starts writes a second line of the
// latter kind, with another reason: the first one tells.
var logged = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: (?:(starting up) libvirt version: |shutting down, reason=([a-z -]+)$)`)

// LoggedEnd reads the end of a domain's log: why libvirt ended the process that was
// started last, "" when it has not, or when the start is not in what is given.
func LoggedEnd(log []byte) Reason {
	begun := false
	var end Reason
	for _, line := range logged.FindAllSubmatch(log, -1) {
		switch {
		case line[1] != nil:
			begun, end = true, ""
		case begun && end == "":
			end = Reason(line[2])
		}
	}
	return end
}
