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

	"connectrpc.com/connect"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// crossing is a guest on its way from a to b.
type crossing struct {
	guest, a, b, id string
}

// copying is the speed of the link: a guest's memory takes a few seconds, less
// than it takes the manager to give up a host that does not answer.
const copying = "300mbit"

// cross orders a move of g1 to another host, one that is not avoided because of
// what an earlier crash made it refuse.
func cross(t *testing.T, first func(*testing.T, crossing)) (c crossing) {
	t.Helper()
	c.guest = fleet.Guests[0].Name
	var wrong string
	if c.a, wrong = runsOnce(t, c.guest); wrong != "" {
		t.Fatal(wrong)
	}
	api, err := fleet.API()
	if err != nil {
		t.Fatal(err)
	}
	fleet.Until(t, 2*time.Minute, func() (refused string) {
		for _, h := range fleet.Hosts {
			if c.b = h.Name; c.b == c.a {
				continue
			}
			if err := fleet.Shape(t.Context(), c.a, c.b, copying); err != nil {
				t.Fatal(err)
			}
			if first != nil {
				first(t, c)
			}
			moved, err := api.MoveClaim(t.Context(), connect.NewRequest(&managerv1.MoveClaimRequest{
				Domain: fleet.Guests[0].UUID, Target: c.b, Reason: "to be disturbed",
			}))
			if err == nil {
				c.id = moved.Msg.GetMigration().GetId()
				return ""
			}
			refused = err.Error()
			if err := fleet.Heal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return refused
	})
	return c
}

// crossByHand begins a migration of g1 to another host by virsh, with its own flags.
func crossByHand(t *testing.T, flags []string) crossing {
	t.Helper()
	c := crossing{guest: fleet.Guests[0].Name}
	var wrong string
	if c.a, wrong = runsOnce(t, c.guest); wrong != "" {
		t.Fatal(wrong)
	}
	c.b = fleet.Hosts[0].Name
	if c.b == c.a {
		c.b = fleet.Hosts[1].Name
	}
	if err := fleet.Shape(t.Context(), c.a, c.b, copying); err != nil {
		t.Fatal(err)
	}
	go func() {
		args := append([]string{"migrate", "--live", "--p2p"}, flags...)
		_, _ = fleet.Virsh(context.WithoutCancel(t.Context()), c.a, append(args, c.guest, "qemu+tcp://"+c.b+"/system")...)
	}()
	fleet.Until(t, 30*time.Second, func() string {
		moves := ask(t, &managerv1.ListMigrationsResponse{}, "migrations", "--open")
		for _, m := range moves.Migrations {
			if m.DomainName == c.guest {
				c.id = m.Id
				return ""
			}
		}
		return "nothing is known of a migration by hand"
	})
	return c
}

// ends waits until a move has ended and its guest is at rest.
func ends(t *testing.T, c crossing) {
	t.Helper()
	// A call whose return nobody will see counts as over after 40 s without a job.
	fleet.Until(t, 4*time.Minute, func() string {
		switch m := row(t, c); m.GetState() {
		case "done", "rolled_back":
			return unsettled(t)
		case "failed", "unclear":
			return fmt.Sprintf("%s → %s is %s: %s%s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetWaiting(), m.GetOutcomeReason())
		default:
			return fmt.Sprintf("%s → %s is still %s: %s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetWaiting())
		}
	})
	m := row(t, c)
	t.Logf("%s → %s ended %s: %s", m.GetSource(), m.GetTarget(), m.GetState(), m.GetOutcomeReason())
}

// row asks the manager for a move; nil while it does not answer.
func row(t *testing.T, c crossing) *managerv1.Migration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	api, err := fleet.API()
	if err != nil {
		t.Fatal(err)
	}
	res, err := api.GetMigration(ctx, connect.NewRequest(&managerv1.GetMigrationRequest{Id: c.id}))
	if err != nil {
		return nil
	}
	return res.Msg.GetMigration()
}

func stepSeen(name string) func(*testing.T, crossing) bool {
	return func(t *testing.T, c crossing) bool {
		return slices.ContainsFunc(row(t, c).GetSteps(), func(s *managerv1.Step) bool { return s.GetName() == name })
	}
}

// jobNow is what the source's libvirt says of its job: whether some memory has gone
// over, whether little is left, and whether there is no job.
type jobNow struct{ processed, little, over bool }

func job(t *testing.T, c crossing) (j jobNow) {
	t.Helper()
	out, err := fleet.Virsh(t.Context(), c.a, "domjobinfo", c.guest)
	for line := range strings.Lines(out) {
		if of, ok := strings.CutPrefix(line, "Memory processed:"); ok {
			j.processed = !strings.HasPrefix(strings.TrimSpace(of), "0.000")
		}
		if of, ok := strings.CutPrefix(line, "Memory remaining:"); ok {
			f := strings.Fields(of)
			mib, err := strconv.ParseFloat(f[0], 64)
			j.little = err == nil && (f[1] != "MiB" || mib < 40)
		}
	}
	j.over = err == nil && jobType(out) == "None"
	return j
}

func jobType(domjobinfo string) string {
	m := regexp.MustCompile(`Job type:\s+(\S+)`).FindStringSubmatch(domjobinfo)
	if m == nil {
		return ""
	}
	return m[1]
}

// copied waits until libvirt has copied some memory.
func copied(t *testing.T, c crossing) {
	t.Helper()
	quickly(t, func() bool { return job(t, c).processed })
}

// quickly waits for a moment that does not last.
func quickly(t *testing.T, now func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !now(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			fleet.Story(t)
			t.Fatal("the move did not come to where it was to be disturbed")
		}
	}
}
