//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRestartedLibvirtd: libvirtd is killed over eight running guests while the
// agent is dead, or hangs. A hook that failed then would kill every one of them.
func TestRestartedLibvirtd(t *testing.T) {
	settled(t)
	guests := eight(t, "h1")
	for _, how := range []string{"dead", "hanging"} {
		t.Run(how, func(t *testing.T) {
			before := processes(t, "h1", guests)
			fleet.Watched(t, time.Second, func() {
				back := without(t, "h1", how)
				defer back()
				if err := fleet.Signal(t.Context(), "h1", "libvirtd", unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				fleet.Until(t, 30*time.Second, func() string {
					out, err := fleet.Virsh(t.Context(), "h1", "list", "--name")
					if err != nil {
						return err.Error()
					}
					for _, g := range guests {
						if !slices.Contains(strings.Fields(out), g) {
							return g + " does not run"
						}
					}
					return ""
				})
			})
			settled(t)
			if after := processes(t, "h1", guests); !slices.Equal(before, after) {
				t.Errorf("the guests' processes were %v and are %v", before, after)
			}
		})
	}
}

// without takes a host's agent away, dead or hanging, and returns what brings it back.
func without(t *testing.T, host, how string) (back func()) {
	t.Helper()
	if how == "hanging" {
		if err := fleet.Signal(t.Context(), host, "agent", unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := fleet.Signal(context.WithoutCancel(t.Context()), host, "agent", unix.SIGCONT); err != nil {
				t.Error(err)
			}
		}
	}
	start, err := fleet.StopService(t.Context(), host, "agent")
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := start(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// eight gives a host small guests without a disk until eight run there, and takes
// them away again when the test is over. It returns the names of all eight.
func eight(t *testing.T, host string) []string {
	t.Helper()
	guests := fleet.On(t, host)
	for i := len(guests); i < 8; i++ {
		name := fmt.Sprintf("small%d", i)
		script := fmt.Sprintf("cat >/tmp/%[1]s.xml <<'EOF'\n<domain type='qemu'><name>%[1]s</name><memory unit='MiB'>16</memory>"+
			"<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os></domain>\nEOF\n"+
			"virsh -c qemu:///system define /tmp/%[1]s.xml && virsh -c qemu:///system start %[1]s", name)
		if out, err := fleet.Exec(t.Context(), host, "sh", "-c", script); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() {
			for _, verb := range []string{"destroy", "undefine"} {
				if _, err := fleet.Virsh(context.WithoutCancel(t.Context()), host, verb, name); err != nil {
					t.Error(err)
				}
			}
		})
		guests = append(guests, name)
	}
	return guests
}

// processes returns the pid of each guest's QEMU on a host.
func processes(t *testing.T, host string, guests []string) (pids []string) {
	t.Helper()
	for _, g := range guests {
		out, err := fleet.Exec(t.Context(), host, "cat", "/run/libvirt/qemu/"+g+".pid")
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, strings.TrimSpace(out))
	}
	return pids
}
