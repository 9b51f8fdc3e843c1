//go:build e2e

package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// TestNamesTaken gives both possible targets a domain of the guest's name: the
// move is refused before anything starts, the guest stays, evacuate says so.
func TestNamesTaken(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	const other = `<domain type='qemu'><name>%NAME%</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>`
	for _, host := range []string{"h2", "h3"} {
		xml := strings.ReplaceAll(other, "%NAME%", guest)
		if _, err := fleet.Exec(t.Context(), host, "sh", "-c", "cat >/tmp/taken.xml <<'EOF'\n"+xml+"\nEOF\nvirsh -c qemu:///system define /tmp/taken.xml"); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, host := range []string{"h2", "h3"} {
			if _, err := fleet.Virsh(t.Context(), host, "undefine", guest); err != nil {
				t.Error(err)
			}
		}
		home(t)
	}()
	time.Sleep(2 * time.Second) // a report passes
	fleet.Watched(t, time.Second, func() {
		_, err := fleet.Vireo(t.Context(), "evacuate", "h1", "--yes", "--reason", "names are taken")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 5 {
			t.Errorf("evacuate ended with %v, want exit code 5", err)
		}
	})
	if host, wrong := runsOnce(t, guest); wrong != "" || host != "h1" {
		t.Errorf("%s is on %q, want h1: %s", guest, host, wrong)
	}
	story := fleet.Must(t, "explain", "domain", uuidOf(t, guest))
	if !strings.Contains(story, "name") {
		t.Errorf("explain does not say that the name is taken:\n%s", story)
	}
}

// TestLibvirtRefuses closes the ports of the migration stream on both possible
// targets: what only libvirt can find out. The guests stay where they run, with
// their claims, evacuate ends with "some stayed", and explain has libvirt's reason.
func TestLibvirtRefuses(t *testing.T) {
	settled(t)
	there := fleet.On(t, "h1")
	const closed = "table inet closed { chain input { type filter hook input priority 0; tcp dport 49152-49215 reject with tcp reset; }; }"
	for _, host := range []string{"h2", "h3"} {
		if _, err := fleet.Exec(t.Context(), host, "nft", closed); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, host := range []string{"h2", "h3"} {
			if _, err := fleet.Exec(t.Context(), host, "nft", "delete table inet closed"); err != nil {
				t.Error(err)
			}
		}
		home(t)
	}()
	fleet.Watched(t, time.Second, func() {
		out, err := fleet.Vireo(t.Context(), "evacuate", "h1", "--yes", "--reason", "ports are closed")
		t.Log(out)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 5 {
			t.Errorf("evacuate ended with %v, want exit code 5", err)
		}
	})
	for _, guest := range there {
		if host, wrong := runsOnce(t, guest); wrong != "" || host != "h1" {
			t.Errorf("%s is on %q, want h1: %s", guest, host, wrong)
		}
		if wrong := misplaced(t, guest); wrong != "" {
			t.Error(wrong)
		}
		if story := fleet.Must(t, "explain", "domain", guest); !strings.Contains(story, "connect") || !strings.Contains(story, "rolled_back") {
			t.Errorf("explain does not give libvirt's reason:\n%s", story)
		}
	}
}

// TestBrokenSmartctl: a collector that fails says so, and everything else goes on.
func TestBrokenSmartctl(t *testing.T) {
	settled(t)
	for _, how := range []string{"hang", "garbage", "missing"} {
		t.Run(how, func(t *testing.T) {
			if err := fleet.BreakSmartctl("h3", how); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := fleet.BreakSmartctl("h3", ""); err != nil {
					t.Error(err)
				}
			}()
			before := ask(t, &managerv1.GetHostResponse{}, "host", "h3").Host.LastReport.AsTime()
			fleet.Until(t, 30*time.Second, func() string {
				h := ask(t, &managerv1.GetHostResponse{}, "host", "h3")
				if !h.Host.LastReport.AsTime().After(before.Add(time.Second)) {
					return "h3 does not report on"
				}
				for _, c := range h.Host.Components {
					if c.Component == "collector:smart" && len(c.Reasons) > 0 && strings.Contains(c.Reasons[0].Text, "fails") {
						t.Log(c.Reasons[0].Text)
						return ""
					}
				}
				return "h3 does not say that its SMART collector fails"
			})
		})
	}
	settled(t)
}
