package whole

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
)

// TestEvacuation: four guests leave a host, and nothing of them stays there.
func TestEvacuation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, 1, 3, 4, 64<<20)
		h.ready()
		h.evacuate("h1")
		h.until("h1 is drained", 2*time.Minute, func() bool { return h.host("h1").GetState() == "drained" })
		h.verdict()
		for _, g := range h.guests {
			if on := h.fleet.DefinedOn(g); len(on) != 1 || on[0] != h.fleet.RunningOn(g)[0] {
				t.Errorf("%s is defined on %v, runs on %v", g, on, h.fleet.RunningOn(g))
			}
		}
		for _, m := range h.migrations(false) {
			d := m.GetDowntime()
			if m.GetOutcome() != "done" || d.GetTotal().AsDuration() <= 0 {
				t.Errorf("%s: %s, downtime %v", m.GetDomainName(), m.GetOutcome(), d)
			}
		}
	})
}

// fault hurts one thing and gives what heals it.
type fault struct {
	name string
	do   func(h *house, host string) (heal func())
}

var faults = []fault{
	{"manager away", func(h *house, _ string) func() { h.stopManager(); return h.startManager }},
	{"agent killed", func(h *house, n string) func() { h.agents[n](); return func() { h.startAgent(n) } }},
	{"agent cut off", func(h *house, n string) func() { h.cut(n, true); return func() { h.cut(n, false) } }},
	{"session lost", func(h *house, n string) func() { h.cut(n, false); return func() {} }},
	{"libvirtd frozen", func(h *house, n string) func() { h.fleet.Host(n).Freeze(); return h.fleet.Host(n).Thaw }},
	{"libvirtd killed", func(h *house, n string) func() { h.fleet.Host(n).KillLibvirtd(); return h.fleet.Host(n).StartLibvirtd }},
	{"finish lost", func(h *house, _ string) func() {
		for _, g := range h.guests {
			h.fleet.LoseFinish(g)
		}
		return func() {}
	}},
	{"libvirts cut", func(h *house, n string) func() {
		a, b := h.fleet.Host("h1"), h.fleet.Host(n)
		if a == b {
			return func() {}
		}
		h.fleet.Cut(a, b)
		return func() { h.fleet.Mend(a, b) }
	}},
}

// TestFaults: during an evacuation things break at random moments and are healed
// a while later. No guest ever runs twice or with old memory; in the end each
// runs once, where its claim says, and the host is empty. VIREO_SEEDS says how
// many seeds, VIREO_SEED which one alone.
func TestFaults(t *testing.T) {
	seeds, first := 12, 0
	if os.Getenv("VIREO_LONG") != "" {
		seeds = 300
	}
	if n, err := strconv.Atoi(os.Getenv("VIREO_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("VIREO_SEED")); err == nil {
		first, seeds = n, 1
	}
	did, ended := map[string]int{}, map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { withFaults(t, uint64(seed), did, ended) })
		})
	}
	t.Logf("faults %v, moves %v", did, ended)
	if seeds < 12 {
		return // too few for all that can happen
	}
	for _, f := range faults {
		if did[f.name] == 0 {
			t.Errorf("never: %s", f.name)
		}
	}
	if ended["done"] == 0 || ended["rolled_back"] == 0 {
		t.Errorf("moves ended as %v: the faults are too tame", ended)
	}
}

// phases are the moments of a migration at which a fault may come.
var phases = []virttest.Phase{virttest.Preparing, virttest.Transferring, virttest.Stopped, virttest.Complete, virttest.Finishing, virttest.Finished, virttest.Confirmed, virttest.Exited, virttest.Returned}

// await waits until a migration of any guest enters a phase, for three seconds
// at most.
func (h *house) await(phase virttest.Phase) {
	now := make(chan struct{}, len(h.guests))
	for _, g := range h.guests {
		h.fleet.At(g, phase, func() {
			select {
			case now <- struct{}{}:
			default:
			}
		})
	}
	select {
	case <-now:
	case <-time.After(3 * time.Second):
	}
}

func withFaults(t *testing.T, seed uint64, did, ended map[string]int) {
	h := build(t, seed, 3, 4, 200<<20)
	h.ready()
	h.evacuate("h1")
	used := map[string]bool{} // one fault of a kind and host at a time
	for range 2 + h.rng.IntN(3) {
		if h.rng.IntN(2) == 0 {
			time.Sleep(time.Duration(h.rng.IntN(1500)) * time.Millisecond)
		} else {
			h.await(phases[h.rng.IntN(len(phases))])
		}
		f, n := faults[h.rng.IntN(len(faults))], h.names[h.rng.IntN(len(h.names))]
		if used[f.name] {
			continue
		}
		used[f.name] = true
		did[f.name]++
		lasts := time.Duration(100+h.rng.IntN(8000)) * time.Millisecond
		fmt.Fprintf(&h.log, "--- %s %s for %s\n", f.name, n, lasts)
		heal := f.do(h, n)
		time.Sleep(lasts)
		heal()
		fmt.Fprintf(&h.log, "--- %s %s healed\n", f.name, n)
	}
	calm := func() bool {
		return h.host("h1").GetState() == "drained" && len(h.migrations(true)) == 0 &&
			!slices.ContainsFunc(h.guests, func(g string) bool { return len(h.fleet.RunningOn(g)) != 1 })
	}
	for end := time.Now().Add(10 * time.Minute); !calm(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			for _, m := range h.migrations(true) {
				t.Errorf("open: %s %s → %s %s: %s", m.GetDomainName(), m.GetSource(), m.GetTarget(), m.GetState(), m.GetWaiting())
			}
			t.Errorf("h1 is %s", h.host("h1").GetState())
			break
		}
	}
	for _, m := range h.migrations(false) {
		ended[m.GetOutcome()]++
	}
	h.verdict()
}
