package sim

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// weeks is how many weeks TestDays runs when there is time (VIREO_LONG).
const weeks = 200

// etcdDays is how many days TestDaysEtcd runs when there is little time.
const etcdDays = 12

// etcdDaysLong is how many when there is time (VIREO_LONG).
const etcdDaysLong = 150

// episodesADay is how often a day goes wrong, and comes to rest again.
const episodesADay = 25

// TestMain collects garbage later than by default: a day keeps little and throws
// much away.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	m.Run()
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, text, err)
	}
	return n
}

// runWith runs one seed of so many days of a world with so many managers.
func runWith(t testing.TB, managers int, seed uint64, days int, trace func(string)) Result {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "vireo-sim"); err == nil {
		dir = shm
		defer os.RemoveAll(shm)
	}
	return Run(Options{
		Seed: seed, Hosts: 3 + int(seed%2), Guests: 5, Managers: managers, Day: time.Duration(days) * 24 * time.Hour, Episodes: days * episodesADay,
		Dir: dir, Trace: trace,
	})
}

// TestDays runs days, or weeks, of many seeds; a failure names its seed, with
// which it comes again: make sim SEEDS=1 FIRST=seed DAYS=days.
func TestDays(t *testing.T) {
	seeds, long := days, 1
	if os.Getenv("VIREO_LONG") != "" && days >= 40 {
		seeds, long = weeks, 7
	}
	runDays(t, 1, seeds, long)
}

// TestDaysEtcd is the same with two managers over a model of etcd: one leads, the
// other stands by. A seed comes again with STORE=etcd.
func TestDaysEtcd(t *testing.T) {
	seeds := min(days, etcdDays)
	if os.Getenv("VIREO_LONG") != "" && days >= 40 {
		seeds = etcdDaysLong
	}
	runDays(t, 2, seeds, 1)
}

// runDays runs as many seeds of so many days, unless the environment says otherwise.
func runDays(t *testing.T, managers, seeds, long int) {
	t.Helper()
	seeds, long = number(t, "VIREO_SIM_SEEDS", seeds), number(t, "VIREO_SIM_DAYS", long)
	first := number(t, "VIREO_SIM_FIRST", 1)
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var trace func(string)
			if os.Getenv("VIREO_SIM_TRACE") != "" {
				trace = func(line string) { fmt.Println(line) }
			}
			r := runWith(t, managers, uint64(seed), long, trace)
			if r.Err != nil {
				t.Errorf("%s", r.Failure())
			}
			t.Logf("%d events, hash %016x, %s", r.Events, r.Hash, strings.Join(r.sortedCounts(), ", "))
		})
	}
}

// TestFailureComesAgain: a broken rule ends the day at its event, with the same
// words and the same last fifty events each time.
func TestFailureComesAgain(t *testing.T) {
	const seed = 3
	fail := func() Result {
		return Run(Options{
			Seed: seed, Hosts: 3, Guests: 5, Day: 24 * time.Hour, Episodes: episodesADay, Dir: t.TempDir(),
			Rule: func(claims int, evacuations int) error {
				if evacuations > 7 {
					return fmt.Errorf("a rule for this test: %d evacuations with %d claims", evacuations, claims)
				}
				return nil
			},
		})
	}
	a, b := fail(), fail()
	if a.Err == nil || b.Err == nil {
		t.Fatalf("the rule was not held: %v, %v", a.Err, b.Err)
	}
	if a.Failure() != b.Failure() {
		t.Errorf("the same seed fails in two ways:\n%s\n\nand\n\n%s", a.Failure(), b.Failure())
	}
	lines := strings.Split(a.Failure(), "\n")
	if len(lines) != 51 {
		t.Errorf("%d lines, not the failure and fifty events", len(lines))
	}
	if want := fmt.Sprintf("seed %d, ", seed); !strings.HasPrefix(lines[0], want) || !strings.Contains(lines[0], "a rule for this test: 8 evacuations with 5 claims") {
		t.Errorf("the failure begins with %q", lines[0])
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "BROKEN a rule for this test") {
		t.Errorf("the last event is %q", last)
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "operator: evacuate") }) {
		t.Error("the events do not show what broke the rule")
	}
}
