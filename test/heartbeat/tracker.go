package heartbeat

import (
	"slices"
	"sort"
	"time"
)

const (
	// concurrent is how recently the known sender must have spoken for another
	// sender's old counter to mean two copies and not a copy taken over from an
	// older memory.
	concurrent = 500 * time.Millisecond

	// keepGaps and keepSeconds bound what is remembered of one guest: the newest.
	keepGaps    = 2000
	keepSeconds = 2000
)

// Gap is a time without a beat.
type Gap struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	MS       float64   `json:"ms"`
	FromHost string    `json:"from_host"` // sender of the beat before
	ToHost   string    `json:"to_host"`   // sender of the beat after
	Restart  bool      `json:"restart"`   // the beat after is of another boot
}

// Move is a change of the host that a guest's beats come from.
type Move struct {
	At       time.Time `json:"at"`
	FromHost string    `json:"from_host"`
	ToHost   string    `json:"to_host"`
	GapMS    float64   `json:"gap_ms"` // from the last beat there to the first beat here
	Restart  bool      `json:"restart"`
}

// Double is a second in which two copies of one guest spoke.
type Double struct {
	Second time.Time `json:"second"`
	Hosts  []string  `json:"hosts"`
	Beats  int       `json:"beats"` // beats in it that only a second copy can have sent
}

// Guest is what is known of one guest.
type Guest struct {
	Name          string    `json:"name"`
	BootID        string    `json:"boot_id"`
	Counter       uint64    `json:"counter"`
	Host          string    `json:"host"` // the host the newest beat came from
	LastSeen      time.Time `json:"last_seen"`
	SilentMS      float64   `json:"silent_ms"` // since the last beat, at the time of asking
	Beats         uint64    `json:"beats"`
	LostBeats     uint64    `json:"lost_beats"`
	LargestGapMS  float64   `json:"largest_gap_ms"`
	Restarts      int       `json:"restarts"`
	Rewinds       int       `json:"rewinds"` // the same boot going on from an older memory
	DoubleSeconds int       `json:"two_sender_seconds"`
	PatternErrors uint64    `json:"pattern_errors"` // of the current boot
	DiskErrors    uint64    `json:"disk_errors"`    // of the current boot
	DirtiedPages  uint64    `json:"dirtied_pages"`
	Gaps          []Gap     `json:"gaps"` // those over 20 ms
	Moves         []Move    `json:"moves"`
	Doubles       []Double  `json:"two_senders"`
}

// GapsSince returns the guest's gaps that ended after t.
func (g Guest) GapsSince(t time.Time) []Gap {
	i := sort.Search(len(g.Gaps), func(i int) bool { return g.Gaps[i].End.After(t) })
	return g.Gaps[i:]
}

// LargestGapSince returns the longest gap that ended after t; 0 if there was none over 20 ms.
func (g Guest) LargestGapSince(t time.Time) time.Duration {
	var ms float64
	for _, gap := range g.GapsSince(t) {
		ms = max(ms, gap.MS)
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// track is a guest and what its next beat is judged by.
type track struct {
	Guest
	former map[string]bool // boot ids that are over
}

// Tracker judges beats. It is not safe for concurrent use.
type Tracker struct {
	guests map[string]*track
}

// NewTracker returns a tracker that has seen nothing.
func NewTracker() *Tracker { return &Tracker{guests: map[string]*track{}} }

// Observe takes a beat that came in from a host at a time. Beats of one guest
// are expected in the order in which they crossed the switch.
func (t *Tracker) Observe(b Beat, host string, at time.Time) {
	g := t.guests[b.Guest]
	if g == nil {
		t.guests[b.Guest] = &track{
			Guest: Guest{Name: b.Guest, BootID: b.BootID, Counter: b.Counter, Host: host, LastSeen: at,
				Beats: 1, PatternErrors: b.PatternErrors, DiskErrors: b.DiskErrors, DirtiedPages: b.DirtiedPages},
			former: map[string]bool{},
		}
		return
	}
	g.Beats++
	live := at.Sub(g.LastSeen) < concurrent
	switch {
	case g.former[b.BootID]:
		g.double(host, at)
		return
	case b.BootID != g.BootID:
		g.former[g.BootID] = true
		g.Restarts++
		g.advance(b, host, at, true)
	case b.Counter > g.Counter:
		g.LostBeats += b.Counter - g.Counter - 1
		g.advance(b, host, at, false)
	case host != g.Host && live:
		g.double(host, at)
	default:
		g.Rewinds++
		g.advance(b, host, at, false)
	}
}

// advance makes the beat the newest one of its guest.
func (g *track) advance(b Beat, host string, at time.Time, restart bool) {
	silence := at.Sub(g.LastSeen)
	ms := float64(silence) / float64(time.Millisecond)
	if silence > Resolution {
		g.LargestGapMS = max(g.LargestGapMS, ms)
		g.Gaps = newest(append(g.Gaps, Gap{Start: g.LastSeen, End: at, MS: ms, FromHost: g.Host, ToHost: host, Restart: restart}), keepGaps)
	}
	if host != g.Host {
		g.Moves = newest(append(g.Moves, Move{At: at, FromHost: g.Host, ToHost: host, GapMS: ms, Restart: restart}), keepGaps)
	}
	g.BootID, g.Counter, g.Host, g.LastSeen = b.BootID, b.Counter, host, at
	g.PatternErrors, g.DiskErrors, g.DirtiedPages = b.PatternErrors, b.DiskErrors, b.DirtiedPages
}

// double notes a beat that only a second copy can have sent.
func (g *track) double(host string, at time.Time) {
	second := at.Truncate(time.Second)
	if n := len(g.Doubles); n > 0 && g.Doubles[n-1].Second.Equal(second) {
		d := &g.Doubles[n-1]
		d.Beats++
		if !slices.Contains(d.Hosts, host) {
			d.Hosts = append(d.Hosts, host)
		}
		return
	}
	hosts := []string{g.Host}
	if host != g.Host {
		hosts = append(hosts, host)
	}
	g.DoubleSeconds++
	g.Doubles = newest(append(g.Doubles, Double{Second: second, Hosts: hosts, Beats: 1}), keepSeconds)
}

// newest returns the last n of s.
func newest[T any](s []T, n int) []T {
	if len(s) <= n {
		return s
	}
	return slices.Delete(s, 0, len(s)-n)
}

// Snapshot returns all guests, sorted by name, as they are known at a time.
func (t *Tracker) Snapshot(now time.Time) []Guest {
	out := make([]Guest, 0, len(t.guests))
	for _, g := range t.guests {
		c := g.Guest
		c.SilentMS = max(0, float64(now.Sub(c.LastSeen))/float64(time.Millisecond))
		c.Gaps = append([]Gap{}, c.Gaps...)
		c.Moves = append([]Move{}, c.Moves...)
		c.Doubles = append([]Double{}, c.Doubles...)
		for i := range c.Doubles {
			c.Doubles[i].Hosts = slices.Clone(c.Doubles[i].Hosts)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Guest) int { return natural(a.Name, b.Name) })
	return out
}

// natural orders g2 before g10.
func natural(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}
