//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
)

// fleet is the one lab of this package: three hosts, four guests, of which g1
// and g4 begin on h1.
var fleet *lab.Lab

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	fleet, err = lab.Up(ctx, lab.Options{Hosts: 3, Guests: 4, GuestMiB: 128, ShortKeepalive: true, Hook: "enforce", Say: func(s string) { fmt.Println(s) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, "no lab:", err)
		return 1
	}
	code := m.Run()
	if code != 0 && os.Getenv("KEEP") != "" {
		return code
	}
	if err := fleet.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "the lab does not go down:", err)
		return 1
	}
	return code
}

// vireo runs the operator's command and fails the test when it fails.
func vireo(t *testing.T, args ...string) string {
	t.Helper()
	out, err := fleet.Vireo(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
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

// until waits for a condition that is asked again and again; it returns "" when
// all is well, or what is not yet.
func until(t *testing.T, limit time.Duration, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			story(t)
			t.Fatalf("after %s: %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// story prints what helps to understand a failure.
func story(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"hosts"}, {"claims"}, {"migrations"}, {"events", "--last", "60"}} {
		out, err := fleet.Vireo(context.WithoutCancel(t.Context()), args...)
		t.Logf("$ vireo %s\n%s%v", strings.Join(args, " "), out, err)
	}
}

// settled waits until the fleet is at rest: every host healthy, every guest
// running once, its claim held where it runs, defined there and nowhere else.
func settled(t *testing.T) {
	t.Helper()
	until(t, 90*time.Second, func() string { return unsettled(t) })
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

// guestsOn returns the names of the guests on a host.
func guestsOn(t *testing.T, host string) []string {
	t.Helper()
	states, err := fleet.GuestStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range states {
		if g.Host == host {
			names = append(names, g.Name)
		}
	}
	return names
}

// watched runs f and then holds what the guests went through against what no
// move may do to them: no restart, no second copy, no damage, no going back in
// time, and every guest heard to the end.
func watched(t *testing.T, f func()) {
	t.Helper()
	if err := fleet.Heartbeats().Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	f()
	time.Sleep(200 * time.Millisecond)
	beats, err := fleet.Heartbeats().Guests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(beats) != len(fleet.Guests) {
		t.Errorf("%d of %d guests were heard", len(beats), len(fleet.Guests))
	}
	for _, b := range beats {
		if b.Restarts != 0 || b.Rewinds != 0 || b.DoubleSeconds != 0 || b.PatternErrors != 0 || b.DiskErrors != 0 || b.SilentMS > 1000 {
			t.Errorf("%s: %d restarts, %d rewinds, two senders in %d s, %d damaged pages, %d disk errors, silent for %.0f ms",
				b.Name, b.Restarts, b.Rewinds, b.DoubleSeconds, b.PatternErrors, b.DiskErrors, b.SilentMS)
		}
	}
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
			vireo(t, "return", h.Name, "--reason", "the test is over")
		}
	}
	settled(t)
	if len(guestsOn(t, "h1")) == 0 {
		vireo(t, "evacuate", "h2", "--yes", "--reason", "the test is over")
		vireo(t, "return", "h2", "--reason", "the test is over")
		settled(t)
	}
	if len(guestsOn(t, "h1")) == 0 {
		vireo(t, "evacuate", "h3", "--yes", "--reason", "the test is over")
		vireo(t, "return", "h3", "--reason", "the test is over")
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
	until(t, 30*time.Second, func() string {
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
