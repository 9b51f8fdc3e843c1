package virt

import "testing"

func TestLoggedEnd(t *testing.T) {
	const (
		starts   = "2026-11-24 00:08:03.107+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4+deb12u2 (Debian), qemu version: 7.2.22, kernel: 6.1, hostname: h1\n"
		command  = "LC_ALL=C \\\nPATH=/usr/bin \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=g1,debug-threads=on\n"
		leaves   = "2026-11-24 00:08:36.107+0000: initiating migration\n"
		migrated = "2026-11-24 00:08:39.142+0000: shutting down, reason=migrated\n"
		signal   = "2026-11-24T00:08:39.142924Z qemu-system-x86_64: terminating on signal 15 from pid 1308 (libvirtd)\n"
		unknown  = "2026-11-24 00:08:41.713+0000: shutting down, reason=unknown\n"
		destroys = "2026-11-24 00:09:41.713+0000: shutting down, reason=destroyed\n"
		snapshot = "2026-11-24 00:09:41.713+0000: shutting down, reason=from snapshot\n"
	)
	for _, tt := range []struct {
		name, log string
		want      Reason
	}{
		{"nothing", "", ""},
		{"it runs", starts + command, ""},
		{"it is leaving", starts + command + leaves, ""},
		{"it has left", starts + command + leaves + migrated + signal, ReasonMigrated},
		{"libvirtd ended before it had finished, and found it gone", starts + command + leaves + migrated + signal + unknown, ReasonMigrated},
		{"it ended otherwise", starts + command + leaves + destroys, ReasonDestroyed},
		{"a reason of two words", starts + command + snapshot, "from snapshot"},
		{"it came back", starts + leaves + migrated + signal + starts + command, ""},
		{"it came back and ended", starts + leaves + migrated + signal + starts + command + destroys, ReasonDestroyed},
		{"the start is not there", "=g1\n" + leaves + migrated + signal, ""},
		{"QEMU or the guest says it, not libvirt", starts + "qemu: 2026-11-24 00:08:39.142+0000: shutting down, reason=migrated\n" + "shutting down, reason=migrated\n", ""},
		{"a line cut in half", starts + leaves + migrated[:len(migrated)-4], "migra"},
	} {
		if got := LoggedEnd([]byte(tt.log)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
