//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/lab"
)

// TestChaos empties one host after the other while daemons are killed or
// stopped, links are cut and the manager's disk is full. Whatever happens, no
// guest runs twice, restarts or is damaged, and when the faults are over every
// guest runs once, where its claim says. VIREO_SEED chooses another sequence,
// VIREO_ROUNDS its length.
func TestChaos(t *testing.T) {
	seed, rounds := number("VIREO_SEED", 1), number("VIREO_ROUNDS", 3)
	if os.Getenv("VIREO_LONG") != "" {
		rounds = number("VIREO_ROUNDS", 25)
	}
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	settled(t)
	for i := range rounds {
		host := fleet.Hosts[rng.IntN(len(fleet.Hosts))].Name
		name := fmt.Sprintf("seed %d round %d, %s", seed, i+1, host)
		ok := t.Run(name, func(t *testing.T) {
			watched(t, func() { chaosRound(t, rng, host) })
			finishedWithReasons(t)
		})
		if !ok {
			return // what follows would only say it again
		}
	}
	home(t)
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// chaosRound begins an evacuation, hurts the fleet a few times while it goes
// on, heals it, and waits for rest.
func chaosRound(t *testing.T, rng *rand.Rand, host string) {
	t.Helper()
	slow(t, host)
	vireo(t, "evacuate", host, "--yes", "--detach", "--reason", "chaos")
	for range 1 + rng.IntN(3) {
		pause(time.Duration(rng.IntN(2500)) * time.Millisecond)
		f := faults[rng.IntN(len(faults))]
		a := fleet.Hosts[rng.IntN(len(fleet.Hosts))].Name
		t.Logf("%s: %s", a, f.name)
		undo, err := f.inject(t, a, rng)
		if err != nil {
			t.Logf("not possible now: %v", err) // its process is just being started again
			continue
		}
		if undo != nil {
			pause(time.Duration(500+rng.IntN(6000)) * time.Millisecond)
			undo()
		}
	}
	if err := fleet.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, 4*time.Minute, func() string { return restless(t, host) })
}

// pause lets the fleet go on for a while: real processes, real time.
func pause(d time.Duration) { time.Sleep(d) }

// restless says what is not at rest: an open move, a guest that does not run
// once where its claim is. The host is taken back into service on the way.
func restless(t *testing.T, host string) string {
	t.Helper()
	var open managerv1.ListMigrationsResponse
	if err := fleet.Ask(t.Context(), &open, "migrations", "--open"); err != nil {
		return err.Error()
	}
	for _, m := range open.Migrations {
		return fmt.Sprintf("%s %s → %s is %s: %s", m.DomainName, m.Source, m.Target, m.State, m.Waiting)
	}
	var shown managerv1.GetHostResponse
	if err := fleet.Ask(t.Context(), &shown, "host", host); err != nil {
		return err.Error()
	}
	if shown.Host.State == "drained" || shown.Host.State == "evacuating" && len(guestsOn(t, host)) > 0 {
		if _, err := fleet.Vireo(t.Context(), "return", host, "--reason", "chaos is over"); err != nil {
			return err.Error()
		}
	}
	return unsettled(t)
}

// faults are what is done to a fleet; undo is nil when nothing is to be undone.
var faults = []struct {
	name   string
	inject func(t *testing.T, host string, rng *rand.Rand) (undo func(), err error)
}{
	{"the manager is killed", func(t *testing.T, _ string, _ *rand.Rand) (func(), error) {
		return nil, fleet.Signal(t.Context(), lab.ManagerName, "manager", unix.SIGKILL)
	}},
	{"the agent is killed", func(t *testing.T, host string, _ *rand.Rand) (func(), error) {
		return nil, fleet.Signal(t.Context(), host, "agent", unix.SIGKILL)
	}},
	{"libvirtd is killed", func(t *testing.T, host string, _ *rand.Rand) (func(), error) {
		return nil, fleet.Signal(t.Context(), host, "libvirtd", unix.SIGKILL)
	}},
	{"the manager is stopped for a while", func(t *testing.T, _ string, _ *rand.Rand) (func(), error) {
		return stopped(t, lab.ManagerName, "manager")
	}},
	{"the agent is stopped for a while", func(t *testing.T, host string, _ *rand.Rand) (func(), error) {
		return stopped(t, host, "agent")
	}},
	{"libvirtd is stopped for a while", func(t *testing.T, host string, _ *rand.Rand) (func(), error) {
		return stopped(t, host, "libvirtd")
	}},
	{"the link to another host is cut", func(t *testing.T, host string, rng *rand.Rand) (func(), error) {
		return cut(t, host, fleet.Hosts[rng.IntN(len(fleet.Hosts))].Name, rng.IntN(2) == 0)
	}},
	{"the link to the manager is cut", func(t *testing.T, host string, rng *rand.Rand) (func(), error) {
		return cut(t, host, lab.ManagerName, rng.IntN(2) == 0)
	}},
	{"the manager's disk is full", func(t *testing.T, _ string, _ *rand.Rand) (func(), error) {
		return func() {
			if err := fleet.Heal(t.Context()); err != nil {
				t.Error(err)
			}
		}, fleet.FillDisk(lab.ManagerName)
	}},
}

func stopped(t *testing.T, machine, service string) (func(), error) {
	if err := fleet.Signal(t.Context(), machine, service, unix.SIGSTOP); err != nil {
		return nil, err
	}
	return func() {
		// Gone meanwhile is as good as going on.
		_ = fleet.Signal(t.Context(), machine, service, unix.SIGCONT)
	}, nil
}

func cut(t *testing.T, a, b string, oneWay bool) (func(), error) {
	if a == b {
		return nil, nil
	}
	if err := fleet.Cut(t.Context(), a, b, oneWay); err != nil {
		return nil, err
	}
	return func() {
		if err := fleet.HealLink(t.Context(), a, b); err != nil {
			t.Error(err)
		}
	}, nil
}
