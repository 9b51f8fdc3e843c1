package chaos

import (
	"fmt"
	"slices"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/heartbeat"
)

const (
	// between two looks that are compared there is at least this time, so that a
	// guest that runs, of which the lab's use a third of a processor, shows it.
	between = 100 * time.Millisecond
	// skew is how long a look may take that is compared with another.
	skew = 5 * time.Millisecond
	// ran is the CPU time between two looks from which on a virtual processor has
	// executed its guest. More than the skew, and than what QEMU's thread needs to
	// come up for an incoming copy.
	ran = 10 * time.Millisecond
)

// judge holds what is seen against what may be. It is pure: time comes with
// what was seen. Each method returns what is wrong, nothing when all is well.
type judge struct {
	last    time.Time // of the looks that are compared
	cpu     map[process]time.Duration
	runner  map[string]process // by guest: the copy that ran last
	hasRun  map[process]bool
	users   map[string]string // by guest: the host on which a user has made another copy
	moved   map[string]bool   // by guest: a user has moved it, which the manager may learn from one host before the other
	byUser  map[process]bool
	losses  map[string]int // by guest: how often it may begin anew
	beats   map[string]heartbeat.Guest
	epochs  map[string]uint64
	unclear map[string]bool // by guest: its claim was seen to be ambiguous, as a user made it
}

func newJudge() *judge {
	return &judge{
		cpu: map[process]time.Duration{}, runner: map[string]process{}, hasRun: map[process]bool{}, users: map[string]string{}, moved: map[string]bool{},
		byUser: map[process]bool{}, losses: map[string]int{}, beats: map[string]heartbeat.Guest{}, epochs: map[string]uint64{}, unclear: map[string]bool{},
	}
}

// lost notes that a fault has taken a guest's process, or may have: it may begin anew once.
func (j *judge) lost(guest string) { j.losses[guest]++ }

// double notes that a user begins, or with host "" ends, to run another copy of a guest.
func (j *judge) double(guest, host string) {
	if host == "" {
		delete(j.users, guest)
		return
	}
	j.users[guest] = host
	delete(j.unclear, guest)
}

// processes takes a look at all QEMU processes.
func (j *judge) processes(at time.Time, seen []reading, took time.Duration) (wrong []string) {
	for _, r := range seen {
		if _, old := j.cpu[r.process]; !old && j.users[r.Guest] == r.Host {
			j.byUser[r.process] = true
		}
	}
	if !j.last.IsZero() && (took > skew || at.Sub(j.last) < between) {
		return nil
	}
	// The runner first: in the time between two looks the guest may have moved on from it.
	slices.SortStableFunc(seen, func(a, b reading) int {
		switch aRuns, bRuns := j.runner[a.Guest] == a.process, j.runner[b.Guest] == b.process; {
		case aRuns && !bRuns:
			return -1
		case bRuns && !aRuns:
			return 1
		}
		return 0
	})
	now := map[process]time.Duration{}
	for _, r := range seen {
		now[r.process] = r.CPU
		before, old := j.cpu[r.process]
		if !old || r.CPU-before < ran || j.byUser[r.process] {
			continue
		}
		if runner, ok := j.runner[r.Guest]; ok && runner != r.process && j.hasRun[r.process] {
			wrong = append(wrong, fmt.Sprintf("%s has run again (%s of CPU time in %s) after %s had", r.process,
				(r.CPU-before).Round(time.Millisecond), at.Sub(j.last).Round(time.Millisecond), runner))
		}
		j.runner[r.Guest], j.hasRun[r.process] = r.process, true
	}
	for p := range j.hasRun {
		if _, alive := now[p]; !alive {
			delete(j.hasRun, p)
			delete(j.byUser, p)
		}
	}
	j.last, j.cpu = at, now
	return wrong
}

// heard takes what the guests have sent since the judge began.
func (j *judge) heard(guests []heartbeat.Guest) (wrong []string) {
	for _, g := range guests {
		before := j.beats[g.Name]
		j.beats[g.Name] = g
		report := func(format string, args ...any) { wrong = append(wrong, g.Name+" "+fmt.Sprintf(format, args...)) }
		if n := g.Restarts - before.Restarts; n > j.losses[g.Name] {
			report("has booted anew on %s (boot %.8s) and no fault had taken it", g.Host, g.BootID)
		} else {
			j.losses[g.Name] -= max(0, n)
		}
		if g.DoubleSeconds > before.DoubleSeconds {
			report("sent from two copies: %+v", g.Doubles[len(g.Doubles)-1])
		}
		if g.Rewinds > before.Rewinds {
			report("went back in time: the boot %.8s goes on from an older memory on %s", g.BootID, g.Host)
		}
		if g.PatternErrors > 0 || g.DiskErrors > 0 {
			report("is damaged: %d pages, %d disk errors", g.PatternErrors, g.DiskErrors)
		}
	}
	return wrong
}

// claims takes what the manager says who may run what.
func (j *judge) claims(claims []*managerv1.Claim) (wrong []string) {
	seen := map[string]bool{}
	for _, c := range claims {
		name := c.GetDomainName()
		if seen[c.GetDomain()] {
			wrong = append(wrong, name+" has two claims")
		}
		seen[c.GetDomain()] = true
		if c.GetEpoch() < j.epochs[c.GetDomain()] {
			wrong = append(wrong, fmt.Sprintf("the epoch of %s went from %d back to %d", name, j.epochs[c.GetDomain()], c.GetEpoch()))
		}
		j.epochs[c.GetDomain()] = c.GetEpoch()
		if c.GetPhase() != "ambiguous" {
			continue
		}
		if j.users[name] == "" && !j.moved[name] && !j.unclear[name] {
			wrong = append(wrong, name+" is ambiguous and no user has started it twice or moved it")
		}
		j.unclear[name] = true
	}
	return wrong
}

// rested forgets what was excused: the fleet is at rest, every guest was heard.
func (j *judge) rested() {
	clear(j.losses)
	clear(j.moved)
	clear(j.unclear)
}
