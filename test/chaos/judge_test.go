package chaos

import (
	"strings"
	"testing"
	"time"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/test/heartbeat"
)

// looks is what the eyes see, a look each 200 ms: CPU milliseconds of a copy on
// h1 and of one on h2, -1 where there is none.
type looks [][2]int

func (l looks) judge(j *judge) (wrong []string) {
	at := time.Unix(1000, 0)
	for _, ms := range l {
		at = at.Add(200 * time.Millisecond)
		var seen []reading
		for i, host := range []string{"h1", "h2"} {
			if ms[i] >= 0 {
				seen = append(seen, reading{process{"g1", host, 10 + i, uint64(i)}, time.Duration(ms[i]) * time.Millisecond})
			}
		}
		wrong = append(wrong, j.processes(at, seen, time.Millisecond)...)
	}
	return wrong
}

func TestProcesses(t *testing.T) {
	for name, c := range map[string]struct {
		seen looks
		user string
		want string // "" when all is well
	}{
		"it moves":                        {seen: looks{{0, -1}, {60, 0}, {120, 2}, {130, 20}, {130, 80}, {-1, 140}}},
		"both run within one look":        {seen: looks{{0, 0}, {60, 0}, {100, 30}, {100, 90}, {-1, 150}}},
		"the move fails":                  {seen: looks{{0, -1}, {60, 0}, {60, 2}, {60, 2}, {120, 2}, {180, -1}}},
		"both run":                        {seen: looks{{0, 0}, {60, 0}, {120, 60}, {180, 120}}, want: "g1 on h1 (pid 10) has run again"},
		"the old one is woken":            {seen: looks{{0, 0}, {60, 0}, {60, 60}, {60, 120}, {60, 180}, {120, 180}}, want: "after g1 on h2 (pid 11) had"},
		"the copy first, then the source": {seen: looks{{0, 0}, {60, 0}, {60, 60}, {120, 60}}, want: "g1 on h1"},
		"a user's own second copy":        {seen: looks{{0, -1}, {60, 0}, {120, 60}, {180, 120}, {240, -1}}, user: "h2"},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge()
			if c.user != "" {
				j.double("g1", c.user)
			}
			wrong := strings.Join(c.seen.judge(j), "; ")
			if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
				t.Errorf("the judge says %q, want %q", wrong, c.want)
			}
		})
	}
}

// A look that took long is compared with nothing: the copies' times in it are of different moments.
func TestALongLookIsNotCompared(t *testing.T) {
	j := newJudge()
	at := time.Unix(1000, 0)
	look := func(h1, h2 int, took time.Duration) []string {
		at = at.Add(200 * time.Millisecond)
		return j.processes(at, []reading{
			{process{"g1", "h1", 10, 0}, time.Duration(h1) * time.Millisecond},
			{process{"g1", "h2", 11, 0}, time.Duration(h2) * time.Millisecond},
		}, took)
	}
	for i, l := range []struct {
		h1, h2 int
		took   time.Duration
	}{{0, 0, 0}, {60, 0, 0}, {70, 40, time.Second}, {90, 100, 0}, {90, 160, 0}} {
		if wrong := look(l.h1, l.h2, l.took); len(wrong) > 0 {
			t.Errorf("look %d: %v", i, wrong)
		}
	}
}

func TestHeard(t *testing.T) {
	good := heartbeat.Guest{Name: "g1", BootID: "b1", Host: "h1"}
	for name, c := range map[string]struct {
		change func(*heartbeat.Guest)
		lost   bool
		want   string
	}{
		"nothing":              {change: func(*heartbeat.Guest) {}},
		"a boot":               {change: func(g *heartbeat.Guest) { g.Restarts++ }, want: "booted anew"},
		"a boot after a kill":  {change: func(g *heartbeat.Guest) { g.Restarts++ }, lost: true},
		"two boots after one":  {change: func(g *heartbeat.Guest) { g.Restarts += 2 }, lost: true, want: "booted anew"},
		"two senders":          {change: func(g *heartbeat.Guest) { g.DoubleSeconds++; g.Doubles = []heartbeat.Double{{Beats: 3}} }, want: "two copies"},
		"old memory":           {change: func(g *heartbeat.Guest) { g.Rewinds++ }, want: "back in time"},
		"damage to its memory": {change: func(g *heartbeat.Guest) { g.PatternErrors = 1 }, want: "damaged"},
		"damage to its disk":   {change: func(g *heartbeat.Guest) { g.DiskErrors = 1 }, want: "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge()
			if wrong := j.heard([]heartbeat.Guest{good}); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			if c.lost {
				j.lost("g1")
			}
			now := good
			c.change(&now)
			wrong := strings.Join(j.heard([]heartbeat.Guest{now}), "; ")
			if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
				t.Errorf("the judge says %q, want %q", wrong, c.want)
			}
			if again := j.heard([]heartbeat.Guest{now}); c.want != "damaged" && len(again) > 0 {
				t.Errorf("it says it twice: %q", again)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	claim := func(epoch uint64, phase string) []*managerv1.Claim {
		return []*managerv1.Claim{{Domain: "u1", DomainName: "g1", Epoch: epoch, Phase: phase}}
	}
	j := newJudge()
	said := func(c []*managerv1.Claim) string { return strings.Join(j.claims(c), "; ") }
	if got := said(claim(5, "held")); got != "" {
		t.Error(got)
	}
	if got := said(claim(4, "held")); !strings.Contains(got, "back to 4") {
		t.Errorf("an older epoch: %q", got)
	}
	if got := said(append(claim(6, "held"), claim(7, "held")...)); !strings.Contains(got, "two claims") {
		t.Errorf("two claims: %q", got)
	}
	if got := said(claim(8, "ambiguous")); !strings.Contains(got, "no user") {
		t.Errorf("ambiguous by itself: %q", got)
	}
	j.rested()
	j.moved["g1"] = true
	if got := said(claim(8, "ambiguous")); got != "" {
		t.Errorf("ambiguous while a user moves it: %q", got)
	}
	j.rested()
	j.double("g1", "h2")
	if got := said(claim(9, "ambiguous")); got != "" || !j.unclear["g1"] {
		t.Errorf("ambiguous by a user: %q", got)
	}
	j.double("g1", "")
	if got := said(claim(9, "ambiguous")); got != "" {
		t.Errorf("ambiguous until the manager has seen that it is over: %q", got)
	}
}
