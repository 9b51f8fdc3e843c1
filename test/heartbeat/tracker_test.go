package heartbeat

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	boot1 = "00000000000000000000000000000001"
	boot2 = "00000000000000000000000000000002"
)

// send is beats of one boot from one host: counters first..last, one each 10 ms from a time on.
type send struct {
	host        string
	boot        string
	first, last uint64
	at          time.Duration
}

func play(tr *Tracker, sends ...send) {
	type event struct {
		at   time.Duration
		host string
		beat Beat
	}
	var events []event
	for _, s := range sends {
		for c := s.first; c <= s.last; c++ {
			events = append(events, event{s.at + time.Duration(c-s.first)*Interval, s.host, Beat{Guest: "g1", BootID: s.boot, Counter: c}})
		}
	}
	// Merge by time, keeping the order of equal times as given.
	for i := 1; i < len(events); i++ {
		for j := i; j > 0 && events[j].at < events[j-1].at; j-- {
			events[j], events[j-1] = events[j-1], events[j]
		}
	}
	for _, e := range events {
		tr.Observe(e.beat, e.host, t0.Add(e.at))
	}
}

func TestTrackerJudges(t *testing.T) {
	ms := time.Millisecond
	for _, tc := range []struct {
		name  string
		sends []send
		want  string // host counter restarts rewinds lost doubles moves gaps
	}{
		{"a quiet guest", []send{{"h1", boot1, 1, 100, 0}},
			"h1 100 restarts=0 rewinds=0 lost=0 doubles=0 moves=0 gaps=0"},
		{"a pause is a gap", []send{{"h1", boot1, 1, 10, 0}, {"h1", boot1, 11, 20, 400 * ms}},
			"h1 20 restarts=0 rewinds=0 lost=0 doubles=0 moves=0 gaps=1"},
		{"a live migration", []send{{"h1", boot1, 1, 10, 0}, {"h2", boot1, 11, 20, 130 * ms}},
			"h2 20 restarts=0 rewinds=0 lost=0 doubles=0 moves=1 gaps=1"},
		{"a seamless migration within one second is no double run", []send{{"h1", boot1, 1, 10, 0}, {"h2", boot1, 11, 20, 100 * ms}, {"h1", boot1, 21, 30, 200 * ms}},
			"h1 30 restarts=0 rewinds=0 lost=0 doubles=0 moves=2 gaps=0"},
		{"lost beats", []send{{"h1", boot1, 1, 10, 0}, {"h1", boot1, 16, 20, 150 * ms}},
			"h1 20 restarts=0 rewinds=0 lost=5 doubles=0 moves=0 gaps=1"},
		{"a restart", []send{{"h1", boot1, 1, 10, 0}, {"h1", boot2, 1, 10, 1500 * ms}},
			"h1 10 restarts=1 rewinds=0 lost=0 doubles=0 moves=0 gaps=1"},
		{"both copies go on from the same memory", []send{{"h1", boot1, 1, 10, 0}, {"h2", boot1, 11, 250, 100 * ms}, {"h1", boot1, 11, 250, 105 * ms}},
			"h2 250 restarts=0 rewinds=0 lost=0 doubles=3 moves=1 gaps=0"},
		{"the second copy is ahead", []send{{"h1", boot1, 1, 60, 0}, {"h2", boot1, 40, 45, 401 * ms}},
			"h1 60 restarts=0 rewinds=0 lost=0 doubles=1 moves=0 gaps=0"},
		{"a cold start elsewhere while the first lives", []send{{"h1", boot1, 1, 150, 0}, {"h2", boot2, 1, 50, 1000 * ms}},
			"h2 50 restarts=1 rewinds=0 lost=0 doubles=1 moves=1 gaps=0"},
		{"the copy that was ahead dies, the other lives", []send{{"h1", boot1, 1, 20, 0}, {"h2", boot1, 11, 15, 2000 * ms}},
			"h2 15 restarts=0 rewinds=1 lost=0 doubles=0 moves=1 gaps=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := NewTracker()
			play(tr, tc.sends...)
			g := tr.Snapshot(t0.Add(3 * time.Second))[0]
			got := fmt.Sprintf("%s %d restarts=%d rewinds=%d lost=%d doubles=%d moves=%d gaps=%d",
				g.Host, g.Counter, g.Restarts, g.Rewinds, g.LostBeats, g.DoubleSeconds, len(g.Moves), len(g.Gaps))
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestGapIsMeasuredBetweenBeats(t *testing.T) {
	tr := NewTracker()
	play(tr, send{"h1", boot1, 1, 10, 0}, send{"h2", boot1, 11, 20, 140 * time.Millisecond})
	g := tr.Snapshot(t0.Add(time.Second))[0]
	if g.LargestGapMS != 50 || g.Moves[0].GapMS != 50 {
		t.Errorf("largest gap %v ms, gap of the move %v ms, want 50 and 50", g.LargestGapMS, g.Moves[0].GapMS)
	}
	if got := g.LargestGapSince(t0.Add(200 * time.Millisecond)); got != 0 {
		t.Errorf("largest gap after it: %v, want none", got)
	}
	if got := g.LargestGapSince(t0); got != 50*time.Millisecond {
		t.Errorf("largest gap from the start: %v, want 50ms", got)
	}
	if g.SilentMS != 1000-230 {
		t.Errorf("silent for %v ms, want 770", g.SilentMS)
	}
}

func TestBeatSurvivesTheWire(t *testing.T) {
	in := Beat{Guest: "g12", BootID: strings.Repeat("ab", 16), Counter: 7, PatternErrors: 1, DirtiedPages: 2, DiskErrors: 3}
	out, err := Decode(in.Encode())
	if err != nil || out != in {
		t.Errorf("got %+v, %v, want %+v", out, err, in)
	}
	for _, bad := range [][]byte{nil, make([]byte, BeatSize), in.Encode()[:63], append(in.Encode(), 0)} {
		if _, err := Decode(bad); err == nil {
			t.Errorf("%d bytes %x were taken for a beat", len(bad), bad)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	tr := NewTracker()
	for i := range 3 * keepGaps {
		tr.Observe(Beat{Guest: "g1", BootID: boot1, Counter: uint64(i + 1)}, fmt.Sprintf("h%d", i%2), t0.Add(time.Duration(i)*time.Second))
	}
	g := tr.Snapshot(t0)[0]
	if len(g.Gaps) != keepGaps || len(g.Moves) != keepGaps {
		t.Errorf("%d gaps and %d moves kept, want %d", len(g.Gaps), len(g.Moves), keepGaps)
	}
	if last := g.Gaps[keepGaps-1].End; !last.Equal(t0.Add((3*keepGaps - 1) * time.Second)) {
		t.Errorf("the newest gap kept ended at %v", last)
	}
}
