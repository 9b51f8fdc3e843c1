//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/e2e/labtest"
	"github.com/vireo-kvm/vireo/test/lab"
)

// fleet is the one lab of this package: three hosts, four guests, of which g1
// and g4 begin on h1.
var fleet labtest.Fleet

func TestMain(m *testing.M) {
	os.Exit(fleet.Main(m, lab.Options{Hosts: 3, Guests: 4, GuestMiB: 128, ShortKeepalive: true, Hook: "enforce"}))
}

// ask runs a read with --json.
func ask[M proto.Message](t *testing.T, into M, args ...string) M {
	t.Helper()
	proto.Reset(into)
	if err := fleet.Ask(t.Context(), into, args...); err != nil {
		t.Fatal(err)
	}
	return into
}

// settled waits until the fleet is at rest: every host healthy, every guest
// running once, its claim held where it runs, defined there and nowhere else.
func settled(t *testing.T) {
	t.Helper()
	fleet.Until(t, 90*time.Second, func() string { return unsettled(t) })
}

func unsettled(t *testing.T) string {
	t.Helper()
	var hosts managerv1.ListHostsResponse
	if err := fleet.Ask(t.Context(), &hosts, "hosts"); err != nil {
		return err.Error()
	}
	for _, h := range hosts.Hosts {
		if h.State != "healthy" {
			return fmt.Sprintf("%s is %s: %s", h.Name, h.State, h.StateReason)
		}
	}
	for _, g := range fleet.Guests {
		if wrong := misplaced(t, g.Name); wrong != "" {
			return wrong
		}
	}
	return ""
}

// misplaced says what is wrong with one guest, by looking at the processes, the
// claims and each host's libvirt.
func misplaced(t *testing.T, guest string) string {
	t.Helper()
	host, wrong := runsOnce(t, guest)
	if wrong != "" {
		return wrong
	}
	claims := ask(t, &managerv1.ListClaimsResponse{}, "claims")
	i := slices.IndexFunc(claims.Claims, func(c *managerv1.Claim) bool { return c.DomainName == guest })
	if i < 0 {
		return guest + " has no claim"
	}
	if c := claims.Claims[i]; c.Phase != "held" || c.Holder != host {
		return fmt.Sprintf("%s runs on %s, its claim is %s by %s", guest, host, c.Phase, c.Holder)
	}
	for _, h := range fleet.Hosts {
		defined, err := fleet.Virsh(t.Context(), h.Name, "list", "--all", "--name")
		if err != nil {
			return err.Error()
		}
		if here := slices.Contains(strings.Fields(defined), guest); here != (h.Name == host) {
			return fmt.Sprintf("%s runs on %s; that it is known to %s's libvirt is %v", guest, host, h.Name, here)
		}
	}
	return ""
}

// runsOnce returns the host of the guest's only process.
func runsOnce(t *testing.T, guest string) (host, wrong string) {
	t.Helper()
	guests, err := fleet.GuestStates(t.Context())
	if err != nil {
		return "", err.Error()
	}
	for _, g := range guests {
		if g.Name != guest {
			continue
		}
		if len(g.Copies) != 1 {
			return "", fmt.Sprintf("%s has the processes %+v", guest, g.Copies)
		}
		state, err := fleet.Virsh(t.Context(), g.Host, "domstate", guest)
		if err != nil {
			return "", err.Error()
		}
		if strings.TrimSpace(state) != "running" {
			return "", fmt.Sprintf("%s is %s on %s", guest, strings.TrimSpace(state), g.Host)
		}
		return g.Host, ""
	}
	return "", "there is no guest " + guest
}

// uuidOf returns a guest's UUID: its name may be another domain's elsewhere.
func uuidOf(t *testing.T, guest string) string {
	t.Helper()
	for _, g := range fleet.Guests {
		if g.Name == guest {
			return g.UUID
		}
	}
	t.Fatalf("there is no guest %s", guest)
	return ""
}

// home brings the fleet back: every host in service, g1 and g4 on h1.
func home(t *testing.T) {
	t.Helper()
	if err := fleet.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	hosts := ask(t, &managerv1.ListHostsResponse{}, "hosts")
	for _, h := range hosts.Hosts {
		if slices.Contains([]string{"drained", "evacuating"}, h.State) {
			fleet.Must(t, "return", h.Name, "--reason", "the test is over")
		}
	}
	settled(t)
	if len(fleet.On(t, "h1")) == 0 {
		fleet.Must(t, "evacuate", "h2", "--yes", "--reason", "the test is over")
		fleet.Must(t, "return", "h2", "--reason", "the test is over")
		settled(t)
	}
	if len(fleet.On(t, "h1")) == 0 {
		fleet.Must(t, "evacuate", "h3", "--yes", "--reason", "the test is over")
		fleet.Must(t, "return", "h3", "--reason", "the test is over")
		settled(t)
	}
}

// slow shapes all links of a host so that a move takes seconds.
func slow(t *testing.T, host string) {
	t.Helper()
	for _, h := range fleet.Hosts {
		if h.Name != host {
			if err := fleet.Shape(t.Context(), host, h.Name, "100mbit"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// transferring waits until libvirt copies a guest away from a host and returns
// the guest's name and its move.
func transferring(t *testing.T, host string) (guest string, move *managerv1.Migration) {
	t.Helper()
	processed := regexp.MustCompile(`Data processed:\s+([1-9]|0\.[0-9]*[1-9])`)
	fleet.Until(t, 30*time.Second, func() string {
		moves := ask(t, &managerv1.ListMigrationsResponse{}, "migrations", "--open")
		for _, m := range moves.Migrations {
			if m.Source != host || m.State != "running" {
				continue
			}
			if job, err := fleet.Virsh(t.Context(), host, "domjobinfo", m.DomainName); err == nil && processed.MatchString(job) {
				guest, move = m.DomainName, m
				return ""
			}
		}
		return "nothing is copied away from " + host
	})
	return guest, move
}

// virsh runs virsh on a host; it has to succeed.
func virsh(t *testing.T, host string, args ...string) {
	t.Helper()
	if out, err := fleet.Virsh(t.Context(), host, args...); err != nil {
		t.Fatalf("virsh %s on %s: %s %v", strings.Join(args, " "), host, out, err)
	}
}

// isState waits until a host's libvirt says so.
func isState(t *testing.T, host, guest, state string) {
	t.Helper()
	fleet.Until(t, time.Minute, func() string {
		out, err := fleet.Virsh(t.Context(), host, "domstate", guest)
		if now := strings.TrimSpace(out); err != nil || now != state {
			return fmt.Sprintf("%s is %q on %s, expected it %s: %v", guest, now, host, state, err)
		}
		return ""
	})
}

// copiesOf returns the hosts with a process of a guest.
func copiesOf(t *testing.T, guest string) (hosts []string) {
	t.Helper()
	states, err := fleet.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Name == guest {
			for _, c := range s.Copies {
				hosts = append(hosts, c.Host)
			}
		}
	}
	return hosts
}

// beatsFrom says whether a guest is heard from a host, now.
func beatsFrom(t *testing.T, guest, host string) bool {
	t.Helper()
	g, err := fleet.Heartbeats().Guest(t.Context(), guest)
	if err != nil {
		t.Fatal(err)
	}
	return g.Host == host && g.SilentMS < 500
}
