//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

func TestEvacuateByHand(t *testing.T) {
	settled(t)
	there := fleet.On(t, "h1")
	if len(there) == 0 {
		t.Fatal("no guest is on h1")
	}
	inactive, err := fleet.Virsh(t.Context(), "h1", "dumpxml", "--inactive", there[0])
	if err != nil {
		t.Fatal(err)
	}
	dry := fleet.Must(t, "evacuate", "h1", "--dry-run")
	for _, g := range there {
		if !strings.Contains(dry, g) {
			t.Errorf("the dry run does not name %s:\n%s", g, dry)
		}
	}
	if now := fleet.On(t, "h1"); len(now) != len(there) {
		t.Fatalf("a dry run moved guests: %v are left of %v", now, there)
	}
	fleet.Watched(t, time.Second, func() {
		out := fleet.Must(t, "evacuate", "h1", "--yes", "--reason", "to see it empty")
		t.Log(out)
		if left := fleet.On(t, "h1"); len(left) != 0 {
			t.Errorf("evacuate returned 0 and %v are on h1", left)
		}
	})
	host := ask(t, &managerv1.GetHostResponse{}, "host", "h1")
	if host.Host.State != "drained" {
		t.Errorf("h1 is %s after its evacuation, want drained", host.Host.State)
	}
	for _, g := range there {
		if wrong := misplaced(t, g); wrong != "" {
			t.Error(wrong)
		}
	}
	arrived, wrong := runsOnce(t, there[0])
	if wrong != "" {
		t.Fatal(wrong)
	}
	info, err := fleet.Virsh(t.Context(), arrived, "dominfo", there[0])
	if err != nil || !strings.Contains(info, "Autostart:      enable") {
		t.Errorf("autostart did not come with %s: %s, %v", there[0], info, err)
	}
	now, err := fleet.Virsh(t.Context(), arrived, "dumpxml", "--inactive", there[0])
	if err != nil || now != inactive {
		t.Errorf("the definition changed on its way, %v\nbefore:\n%s\nafter:\n%s", err, inactive, now)
	}
	moves := ask(t, &managerv1.ListMigrationsResponse{}, "migrations", "--host", "h1")
	for _, m := range moves.Migrations[:len(there)] {
		d := m.Downtime
		if m.State != "done" || m.OutcomeReason == "" || d.GetTotal().AsDuration() <= 0 {
			t.Errorf("move of %s: %s, %q, downtime %v", m.DomainName, m.State, m.OutcomeReason, d)
		}
		explained := fleet.Must(t, "explain", "migration", m.Id)
		for _, want := range []string{m.DomainName, m.Target, "to see it empty"} {
			if !strings.Contains(explained, want) {
				t.Errorf("vireo explain migration %s does not say %q:\n%s", m.Id, want, explained)
			}
		}
	}
	home(t)
}

// TestVirshWhereTheGuestIs compares vireo's virsh with the host's own, before
// and after: what changes between the two (CPU time) may be either.
func TestVirshWhereTheGuestIs(t *testing.T) {
	settled(t)
	same := func(t *testing.T, host string, args ...string) {
		t.Helper()
		before, err := fleet.Virsh(t.Context(), host, args...)
		if err != nil {
			t.Fatal(err)
		}
		ours := fleet.Must(t, append([]string{"virsh"}, args...)...)
		after, err := fleet.Virsh(t.Context(), host, args...)
		if err != nil {
			t.Fatal(err)
		}
		if ours != before && ours != after {
			t.Errorf("vireo virsh %s printed\n%q\nvirsh on %s printed\n%q\nand then\n%q", strings.Join(args, " "), ours, host, before, after)
		}
	}
	guest := fleet.On(t, "h1")[0]
	check := func(t *testing.T) {
		host, wrong := runsOnce(t, guest)
		if wrong != "" {
			t.Fatal(wrong)
		}
		for _, command := range []string{"dominfo", "domstate", "domjobinfo", "dumpxml"} {
			same(t, host, command, guest)
		}
		own, err := fleet.Virsh(t.Context(), host, "list", "--all")
		if err != nil {
			t.Fatal(err)
		}
		if ours := fleet.Must(t, "virsh", "list", "--all", "--host", host); ours != own {
			t.Errorf("list --host %s printed\n%q, want\n%q", host, ours, own)
		}
		all := fleet.Must(t, "virsh", "list", "--all")
		for _, h := range []string{"h1", "h2", "h3"} {
			if !strings.Contains(all, h+"\n") && !strings.Contains(all, h+":\n") {
				t.Errorf("list does not head a block with %s:\n%s", h, all)
			}
		}
	}
	t.Run("before a move", check)
	fleet.Must(t, "evacuate", "h1", "--yes", "--reason", "to look from elsewhere")
	t.Run("after it", check)
	home(t)
	t.Run("nothing but reading", func(t *testing.T) {
		for _, args := range [][]string{{"virsh", "destroy", guest}, {"virsh", "dumpxml", guest, "--security-info"}, {"virsh", "list", ";", "reboot"}} {
			out, err := fleet.Vireo(t.Context(), args...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 4 {
				t.Errorf("vireo %s was not refused with exit code 4: %s, %v", strings.Join(args, " "), out, err)
			}
		}
	})
}

func TestEvacuateUnknownHost(t *testing.T) {
	_, err := fleet.Vireo(context.Background(), "evacuate", "h9", "--yes")
	if err == nil || !strings.Contains(err.Error(), "h9") {
		t.Errorf("an evacuation of a host that is not there: %v", err)
	}
}
