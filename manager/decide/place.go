package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

// riskStep is how far apart, in percentage points, two hosts' risks must be for
// one to count as the better target: the scores are not finer than that.
const riskStep = 0.5

// PlaceHost plans every domain that a host runs or holds, at once: each choice
// counts against the next. The order of the result is the order in which to move.
func PlaceHost(s Snapshot, p Policy, host string, now time.Time) []Placement {
	var domains []string
	for _, d := range s.Domains {
		if d.Host == host && (d.Running || d.Moving != "") {
			domains = append(domains, d.UUID)
		}
	}
	return Place(s, p, domains, now)
}

// Place plans some domains at once. The largest choose first, because they have
// the fewest places to go.
func Place(s Snapshot, p Policy, domains []string, now time.Time) []Placement {
	var ds []*Domain
	for i := range s.Domains {
		if slices.Contains(domains, s.Domains[i].UUID) {
			ds = append(ds, &s.Domains[i])
		}
	}
	slices.SortFunc(ds, func(a, b *Domain) int {
		return cmp.Or(cmp.Compare(b.MemoryKiB, a.MemoryKiB), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
	taken := map[string]uint64{} // host → KiB given away by this plan
	out := make([]Placement, 0, len(ds))
	for _, d := range ds {
		pl := place(&s, p, d, taken, now)
		if pl.Target != "" {
			taken[pl.Target] += d.MemoryKiB
		}
		out = append(out, pl)
	}
	return out
}

func place(s *Snapshot, p Policy, d *Domain, taken map[string]uint64, now time.Time) Placement {
	pl := Placement{Domain: d.UUID, Name: d.Name, MemoryKiB: d.MemoryKiB, Estimate: p.estimate(d.MemoryKiB)}
	source, ok := s.HostNamed(d.Host)
	if why := blocked(source, ok, d, now); why != "" {
		pl.Why, pl.Blocked = why, true
		return pl
	}
	return choose(pl, s, p, d, source, taken)
}

// Elsewhere is where a domain that runs nowhere, and that asked would have run,
// could run instead. d.Host names asked; what is claimed there does not matter.
func Elsewhere(s Snapshot, p Policy, d Domain) Placement {
	asked, ok := s.HostNamed(d.Host)
	if !ok {
		return Placement{Domain: d.UUID, Name: d.Name, Why: "its host " + d.Host + " is not known", Blocked: true}
	}
	return choose(Placement{Domain: d.UUID, Name: d.Name, MemoryKiB: d.MemoryKiB}, &s, p, &d, asked, nil)
}

// choose takes the best of all hosts but the source.
func choose(pl Placement, s *Snapshot, p Policy, d *Domain, source *Host, taken map[string]uint64) Placement {
	type candidate struct {
		host  *Host
		after float64 // share of the capacity in use once d is there
	}
	var fit []candidate
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Name == d.Host {
			continue
		}
		capacity := p.CapacityKiB(h.MemoryKiB)
		used := h.ClaimedKiB + taken[h.Name] + d.MemoryKiB
		if why := AtRisk(h); why != "" && d.Forced != h.Name {
			pl.Rejected = append(pl.Rejected, Rejection{Host: h.Name, Reason: why, Policy: true})
			continue
		}
		if why := reject(h, source, d, capacity, used); why != "" {
			pl.Rejected = append(pl.Rejected, Rejection{Host: h.Name, Reason: why})
			continue
		}
		fit = append(fit, candidate{h, float64(used) / float64(capacity)})
	}
	if len(fit) == 0 {
		pl.Why = "no host can take it"
		if len(pl.Rejected) == 0 {
			pl.Why = "there is no other host"
		}
		return pl
	}
	preferred := func(h *Host) int {
		if h.Name == source.PreferredTarget {
			return 0
		}
		return 1
	}
	slices.SortFunc(fit, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(riskRank(a.host), riskRank(b.host)),
			cmp.Compare(preferred(a.host), preferred(b.host)),
			cmp.Compare(a.after, b.after),
			cmp.Compare(a.host.Name, b.host.Name))
	})
	best := fit[0]
	pl.Target = best.host.Name
	pl.Why = fmt.Sprintf("%s, %s of its memory claimed with it", known(best.host.Risk), pfa.Percent(100*best.after))
	if preferred(best.host) == 0 {
		pl.Why = "the preferred target, " + pl.Why
	}
	for _, c := range fit[1:] {
		pl.Rejected = append(pl.Rejected, Rejection{Host: c.host.Name, Reason: worse(c.host, c.after, best.host, best.after, preferred(best.host) == 0), Fits: true})
	}
	return pl
}

// blocked says why a domain can go nowhere, or "".
func blocked(source *Host, known bool, d *Domain, now time.Time) string {
	switch {
	case !known:
		return "its host " + d.Host + " is not known"
	case d.Moving != "":
		return "it is being moved already (" + d.Moving + ")"
	case d.Phase == "ambiguous":
		return "its claim is ambiguous: it was seen on more than one host"
	case d.Phase != "held":
		return "its claim is " + cmp.Or(d.Phase, "not there yet")
	case !source.Alive:
		return "its host is unknown: " + source.AliveWhy
	case !d.Running:
		return "it does not run"
	case len(d.Blockers) > 0:
		return strings.Join(d.Blockers, "; ")
	case now.Before(d.NotBefore):
		return fmt.Sprintf("not before %s: %s", d.NotBefore.UTC().Format(time.RFC3339), d.NotBeforeWhy)
	}
	for _, disk := range d.Disks {
		if disk.Local {
			return fmt.Sprintf("disk %s (%s) lies on a local file system of %s", disk.Target, disk.Source, d.Host)
		}
	}
	return ""
}

// AtRisk says why policy lets a host take nothing new, or "". A person may take
// the risk (Domain.Forced).
func AtRisk(h *Host) string {
	switch {
	case !h.Alive:
		return "" // nobody knows, and nobody can force it
	case h.State != Healthy && h.State != Watch:
		return "it is " + string(h.State)
	case h.Risk.Hard || h.Hold.Level >= LevelQuarantine:
		return "at risk itself: " + riskWords(h.Risk)
	}
	return ""
}

// reject says why a host cannot take a domain, or "". The filters are hard: no
// score makes up for one of them, and no person.
func reject(h, source *Host, d *Domain, capacity, used uint64) string {
	switch {
	case !h.Alive:
		return "unknown: " + h.AliveWhy
	case h.TakesNothing:
		return "its agent takes nothing new"
	case d.Refused[h.Name] != "":
		return d.Refused[h.Name]
	case capacity == 0:
		return "it has not said how much memory it has, or all of it is reserved"
	case used > capacity:
		return fmt.Sprintf("memory: %s needed, %s free of %s", kib(d.MemoryKiB), kib(free(capacity, used-d.MemoryKiB)), kib(capacity))
	case source.Arch != "" && h.Arch != "" && source.Arch != h.Arch:
		return fmt.Sprintf("architecture %s, not %s", h.Arch, source.Arch)
	}
	if why := cpuMismatch(d.CPUXML, source.CPUXML, h.CPUXML); why != "" {
		return why
	}
	if d.Machine != "" && !slices.Contains(h.MachineTypes, d.Machine) {
		return "its QEMU does not know machine type " + d.Machine
	}
	if b, ok := missing(d.Bridges, h.Bridges); ok {
		return "no bridge " + b
	}
	if n, ok := missing(d.Networks, h.Networks); ok {
		return "no network " + n
	}
	return taken(h, d)
}

// taken says whether the name or the UUID is somebody else's on that host. The
// same domain's own leftover definition, with the same disks, is no obstacle.
func taken(h *Host, d *Domain) string {
	for _, x := range h.Present {
		switch {
		case x.UUID == d.UUID && x.Active:
			return "a domain with this UUID is active there"
		case x.UUID == d.UUID && !sameDisks(x.Disks, d.Disks):
			return "this UUID is defined there with other disks"
		case x.UUID != d.UUID && x.Name == d.Name:
			return "another domain is called " + d.Name + " there"
		}
	}
	return ""
}

func sameDisks(a []string, b []Disk) bool {
	var sources []string
	for _, d := range b {
		sources = append(sources, d.Source)
	}
	slices.Sort(sources)
	return slices.Equal(a, sources)
}

func missing(want, have []string) (string, bool) {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return w, true
		}
	}
	return "", false
}

// riskRank puts hosts in order of risk. A host on watch comes after every
// healthy one, whatever its score is by now.
func riskRank(h *Host) float64 {
	rank := float64(int(h.Risk.P30d/riskStep)) * riskStep
	if h.State == Watch {
		rank += 100
	}
	return rank
}

// worse says in words why one fitting host was not chosen.
func worse(h *Host, after float64, best *Host, bestAfter float64, preferred bool) string {
	switch {
	case h.State == Watch && best.State != Watch:
		return fmt.Sprintf("fits, but it is on watch (risk %s)", pfa.Percent(h.Risk.P30d))
	case riskRank(h) > riskRank(best):
		mine, its := apart(h.Risk.P30d, best.Risk.P30d)
		return fmt.Sprintf("fits, but its risk is higher: %s, against %s of %s", mine, its, best.Name)
	case preferred:
		return fmt.Sprintf("fits, but %s is the preferred target", best.Name)
	case after > bestAfter:
		mine, its := apart(100*after, 100*bestAfter)
		return fmt.Sprintf("fits, but would be fuller: %s of its memory claimed with it, against %s of %s", mine, its, best.Name)
	}
	return fmt.Sprintf("fits equally well; %s comes first by name", best.Name)
}

// apart writes two different percentages with as many digits as it takes to see
// which is larger.
func apart(a, b float64) (string, string) {
	for digits := 1; digits < 5; digits++ {
		x, y := strconv.FormatFloat(a, 'f', digits, 64)+" %", strconv.FormatFloat(b, 'f', digits, 64)+" %"
		if x != y {
			return x, y
		}
	}
	return "slightly more", pfa.Percent(b)
}

// estimate is how long a move of so much memory takes when nothing else runs,
// with an eighth added for pages that are sent twice.
func (p Policy) estimate(memoryKiB uint64) time.Duration {
	if p.Bandwidth == 0 {
		return 0
	}
	seconds := float64(memoryKiB) * 1024 / float64(p.Bandwidth) * 1.125
	return time.Second + time.Duration(seconds*float64(time.Second)).Round(time.Millisecond)
}

// Estimate is how long a plan takes: the moves share the source's bandwidth, so
// their times add up whatever the number of slots.
func Estimate(ps []Placement) time.Duration {
	var sum time.Duration
	for _, p := range ps {
		if p.Target != "" {
			sum += p.Estimate
		}
	}
	return sum
}

func known(r Risk) string {
	if r.Grade == "" && r.P30d == 0 {
		return "no risk known"
	}
	return "risk " + pfa.Percent(r.P30d)
}

func riskWords(r Risk) string {
	if r.Hard {
		return over(r, 0)
	}
	return pfa.Percent(r.P30d) + " within 30 days"
}

func free(capacity, used uint64) uint64 {
	if used > capacity {
		return 0
	}
	return capacity - used
}

func kib(n uint64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d MiB", n>>10)
	}
	return fmt.Sprintf("%d KiB", n)
}
