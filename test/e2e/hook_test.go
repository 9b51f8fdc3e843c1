//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// claimOf returns a guest's claim, nil when there is none.
func claimOf(t *testing.T, guest string) *managerv1.Claim {
	t.Helper()
	claims := ask(t, &managerv1.ListClaimsResponse{}, "claims")
	i := slices.IndexFunc(claims.Claims, func(c *managerv1.Claim) bool { return c.Domain == uuidOf(t, guest) })
	if i < 0 {
		return nil
	}
	return claims.Claims[i]
}

// copyDefinition defines a guest of one host on another, as a backup or a careless
// hand does, until undo is called.
func copyDefinition(t *testing.T, guest, from, to string) (undo func()) {
	t.Helper()
	xml, err := fleet.Virsh(t.Context(), from, "dumpxml", "--inactive", guest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Exec(t.Context(), to, "sh", "-c", "cat >/tmp/copy.xml <<'EOF'\n"+xml+"\nEOF\nvirsh -c qemu:///system define /tmp/copy.xml"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := fleet.Virsh(context.WithoutCancel(t.Context()), to, "undefine", guest); err != nil {
			t.Error(err)
		}
	}
}

// refused runs virsh and returns what its user is told; it has to fail.
func refused(t *testing.T, host string, args ...string) string {
	t.Helper()
	out, err := fleet.Virsh(t.Context(), host, args...)
	if err == nil {
		t.Fatalf("virsh %s on %s succeeds: %s", strings.Join(args, " "), host, out)
	}
	return err.Error()
}

// TestEnforced: every host refuses what it may not run, and says so.
func TestEnforced(t *testing.T) {
	settled(t)
	hosts := fleet.Must(t, "hosts")
	if strings.Count(hosts, "enforced") != len(fleet.Hosts) || strings.Contains(hosts, "Claims protect") {
		t.Errorf("vireo hosts:\n%s", hosts)
	}
	for _, h := range fleet.Hosts {
		if out, err := fleet.Exec(t.Context(), h.Name, "vireo-agent", "hook", "status"); err != nil || !strings.Contains(out, "the running libvirtd calls it") {
			t.Errorf("%s: %s %v", h.Name, out, err)
		}
	}
}

// TestRefusalReachesVirsh: the user of virsh reads who holds the claim.
func TestRefusalReachesVirsh(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	defer copyDefinition(t, guest, "h1", "h2")()
	epoch := claimOf(t, guest).Epoch
	fleet.Watched(t, time.Second, func() {
		said := refused(t, "h2", "start", guest)
		if want := fmt.Sprintf(`vireo: h1 holds the claim of %s \(epoch %d, since `, guest, epoch); !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("virsh start says %q, want %s", said, want)
		}
		// A transient domain of that UUID is no way round.
		if said := refused(t, "h2", "create", "/tmp/copy.xml"); !strings.Contains(said, "vireo: h1 holds the claim of "+guest) {
			t.Errorf("virsh create says %q", said)
		}
	})
	if host, wrong := runsOnce(t, guest); wrong != "" || host != "h1" {
		t.Errorf("%s is on %q: %s", guest, host, wrong)
	}
}

// TestStartByHand: whoever stops a guest may start it again where he likes,
// and only there.
func TestStartByHand(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	defer copyDefinition(t, guest, "h1", "h2")()
	restarted(t, "h1", guest)
	if said := refused(t, "h2", "start", guest); !strings.Contains(said, "h1 holds the claim of "+guest) {
		t.Errorf("virsh start says %q", said)
	}
	if c := claimOf(t, guest); c == nil || c.Holder != "h1" || c.Phase != "held" {
		t.Errorf("claim %v", c)
	}
	heard(t)
}

// restarted stops a guest and starts it again on the same host, with a new claim.
func restarted(t *testing.T, host, guest string) {
	t.Helper()
	virsh(t, host, "destroy", guest)
	fleet.Until(t, 10*time.Second, func() string {
		if c := claimOf(t, guest); c != nil {
			return fmt.Sprintf("the claim of a guest that is off is %s by %s", c.Phase, c.Holder)
		}
		return ""
	})
	begun := time.Now()
	virsh(t, host, "start", guest)
	t.Logf("virsh start with a grant: %s", time.Since(begun).Round(time.Millisecond))
	heard(t)
}

// heard waits until every guest speaks: one that was started has to boot first.
func heard(t *testing.T) {
	t.Helper()
	if err := fleet.Heartbeats().Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	fleet.Until(t, time.Minute, func() string {
		beats, err := fleet.Heartbeats().Guests(t.Context())
		if err != nil {
			return err.Error()
		}
		if len(beats) < len(fleet.Guests) {
			return fmt.Sprintf("%d of %d guests are heard", len(beats), len(fleet.Guests))
		}
		return ""
	})
}

// TestGrantLatency asks as libvirtd does, for guests that nobody has ever seen:
// each is a grant through the manager, with a commit to its disk.
func TestGrantLatency(t *testing.T) {
	settled(t)
	const asked = 50
	script := `for i in $(seq 10 ` + fmt.Sprint(asked+9) + `); do
		xml="<domain type='qemu'><name>new$i</name><uuid>76697265-6f00-4000-8000-0000000001$i</uuid><memory>1024</memory></domain>"
		begun=$(date +%s%N)
		echo "$xml" | /etc/libvirt/hooks/qemu.d/vireo new$i prepare begin - || exit 1
		echo $((($(date +%s%N) - begun) / 1000))
	done`
	out, err := fleet.Exec(t.Context(), "h1", "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for _, field := range strings.Fields(out) {
		us, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Duration(us)*time.Microsecond)
	}
	slices.Sort(took)
	if len(took) != asked {
		t.Fatalf("%d of %d questions were answered", len(took), asked)
	}
	t.Logf("a grant through the manager, the hook's start included: median %s, longest %s", took[asked/2], took[asked-1])
	if took[asked/2] > 100*time.Millisecond {
		t.Errorf("median %s, want 100ms at most", took[asked/2])
	}
}

// TestStartWithoutAgent: what the host holds by its journal starts without an
// agent; the agent that comes back follows it.
func TestStartWithoutAgent(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	undo := copyDefinition(t, guest, "h1", "h2")
	var starts []func(context.Context) error
	defer func() {
		for _, start := range starts {
			if err := start(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
		undo()
		settled(t)
		heard(t)
	}()
	for _, h := range []string{"h1", "h2"} {
		start, err := fleet.StopService(t.Context(), h, "agent")
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, start)
	}
	virsh(t, "h1", "destroy", guest)
	said := refused(t, "h2", "start", guest)
	if !strings.Contains(said, "vireo: this host does not hold the claim of "+guest+", and the agent does not answer") {
		t.Errorf("virsh start says %q", said)
	}
	if _, err := fleet.Virsh(t.Context(), "h1", "start", guest); err != nil {
		t.Errorf("a guest whose claim is held here: %v", err)
	}
}

// TestBootedHost: after a boot nothing is held. libvirt's autostart is refused,
// and made up for when the leader has spoken.
func TestBootedHost(t *testing.T) {
	settled(t)
	guests := fleet.On(t, "h3")
	if len(guests) == 0 {
		t.Fatal("no guest is on h3")
	}
	if err := fleet.Crash("h3"); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Boot(t.Context(), "h3"); err != nil {
		t.Fatal(err)
	}
	settled(t)
	heard(t)
	if now := fleet.On(t, "h3"); !slices.Equal(now, guests) {
		t.Errorf("on h3 run %v, before the crash %v", now, guests)
	}
	story := fleet.Must(t, "events", "--last", "200")
	for _, want := range []string{"refused", "is started: its autostart had been refused"} {
		if !strings.Contains(story, want) {
			t.Errorf("the events do not say %q:\n%s", want, story)
		}
	}
}

// TestMoveUnderEnforce: a move comes in by its attempt, and leaves nothing that
// could be started where it was.
func TestMoveUnderEnforce(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	fleet.Watched(t, time.Second, func() { fleet.Must(t, "evacuate", "h1", "--yes", "--reason", "a move under enforce") })
	movesEnded(t)
	host, wrong := runsOnce(t, guest)
	if wrong != "" || host == "h1" {
		t.Fatalf("%s is on %q: %s", guest, host, wrong)
	}
	undo := copyDefinition(t, guest, host, "h1")
	if said := refused(t, "h1", "start", guest); !strings.Contains(said, "vireo: "+host+" holds the claim of "+guest) {
		t.Errorf("virsh start where it was says %q", said)
	}
	undo()
	home(t)
}

// movesEnded waits until every open move has ended.
func movesEnded(t *testing.T) {
	t.Helper()
	fleet.Until(t, time.Minute, func() string {
		if open := ask(t, &managerv1.ListMigrationsResponse{}, "migrations", "--open"); len(open.Migrations) > 0 {
			return fmt.Sprintf("%d moves are open", len(open.Migrations))
		}
		return ""
	})
}

// TestMigrationByHand: an operator's virsh migrate comes in with the manager's
// consent, and its claim follows; also that of a guest that vireo has moved, whose
// process carries the id of that move in its live XML for life.
func TestMigrationByHand(t *testing.T) {
	settled(t)
	guest := fleet.On(t, "h1")[0]
	fleet.Must(t, "claims", "move", guest, "--to", "h2", "--reason", "a migration by hand follows")
	movesEnded(t)
	at := "h2"
	for _, to := range []string{"h3", "h1"} {
		fleet.Watched(t, time.Second, func() {
			virsh(t, at, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", guest, "qemu+tcp://"+to+"/system")
		})
		fleet.Until(t, 90*time.Second, func() string {
			if c := claimOf(t, guest); c == nil || c.Holder != to || c.Phase != "held" {
				return fmt.Sprintf("its claim does not follow to %s: %v", to, c)
			}
			return ""
		})
		movesEnded(t)
		if host, wrong := runsOnce(t, guest); wrong != "" || host != to {
			t.Fatalf("%s is on %q: %s", guest, host, wrong)
		}
		at = to
	}
	home(t)
}
