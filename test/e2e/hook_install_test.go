//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// TestHookInstall: libvirtd looks for hooks when it starts. Installing one under a
// libvirtd that does not call it says so, and so do agent and manager; after a
// restart it is proved. No guest notices any of it.
func TestHookInstall(t *testing.T) {
	settled(t)
	hook := func(args ...string) (string, error) {
		return fleet.Exec(t.Context(), "h3", append([]string{"vireo-agent", "hook"}, args...)...)
	}
	says := func(want, verb string) {
		t.Helper()
		if out, err := hook(verb); err != nil || !strings.Contains(out, want) {
			t.Errorf("vireo-agent hook %s: %s %v, want %q", verb, out, err, want)
		}
	}
	fails := func(want, verb string) {
		t.Helper()
		if out, err := hook(verb); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("vireo-agent hook %s: %s %v, want a failure with %q", verb, out, err, want)
		}
	}
	restart := func() {
		t.Helper()
		if err := fleet.Signal(t.Context(), "h3", "libvirtd", unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		fleet.Until(t, 30*time.Second, func() string {
			if _, err := fleet.Virsh(t.Context(), "h3", "list"); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	reported := func(problem string) {
		t.Helper()
		fleet.Until(t, 2*time.Minute, func() string {
			for _, h := range ask(t, &managerv1.ListHostsResponse{}, "hosts").Hosts {
				if h.Name == "h3" && strings.Contains(h.HookProblem, problem) && h.HookProven == (problem == "") {
					return ""
				}
			}
			return fmt.Sprintf("h3's hook is not reported with %q", problem)
		})
	}
	installed := true
	defer func() {
		if !installed {
			_, _ = hook("install") // the test has failed already: the others should not for this
			restart()
		}
	}()
	fleet.Watched(t, time.Second, func() {
		says("the running libvirtd calls it", "status")
		says("is installed already", "install")
		installed = false
		says("removed", "uninstall")
		says("is not installed", "uninstall")
		fails("is not installed: vireo-agent hook install", "status")
		reported("not installed")
		restart()

		const unheard = "the running libvirtd does not call the hook: it looks for hooks when it starts; restart it (guests run on)"
		fails(unheard, "install")
		fails(unheard, "status")
		fleet.Until(t, 10*time.Second, func() string { // the agent's own may just be there
			out, err := fleet.Virsh(t.Context(), "h3", "list", "--all", "--name")
			if err != nil || strings.Contains(out, "vireo-hook-probe") {
				return fmt.Sprintf("the probe is left behind: %s %v", out, err)
			}
			return ""
		})
		reported("restart it")
		if out := fleet.Must(t, "hosts"); !strings.Contains(out, "not enforced") {
			t.Errorf("vireo hosts does not say that the hook of h3 is not called:\n%s", out)
		}
		restart()
		says("the running libvirtd calls it", "install")
		installed = true
		reported("")
	})
	settled(t)
}
