package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// evacuation is a fleet whose h1 is about to be emptied by decision d9.
func evacuation() *fakeManager {
	f := fleet()
	f.hosts[0].State = "healthy"
	f.migrations = nil
	f.decisions = []*managerv1.Decision{{Id: "d9", Host: "h1", Kind: "evacuate", Status: "acting"}}
	return f
}

func (f *fakeManager) move(id, name, state, outcome string) *managerv1.Migration {
	m := &managerv1.Migration{Id: id, DomainName: name, Source: "h1", Target: "h2", State: state, Outcome: outcome, Decision: "d9", Started: before(time.Second)}
	for i, old := range f.migrations {
		if old.Id == id {
			f.migrations[i] = m
			return m
		}
	}
	f.migrations = append(f.migrations, m)
	return m
}

// goodCourse empties h1: g1 first, then g2.
func (f *fakeManager) goodCourse(n int) error {
	switch n {
	case 1:
		f.hosts[0].State = "evacuating"
		f.move("m1", "g1", "running", "").Progress = &managerv1.Progress{DataTotal: 100, DataRemaining: 50, BytesPerSecond: 1 << 20}
		f.move("m2", "g2", "planned", "").Waiting = "for a free slot"
	case 3:
		m := f.move("m1", "g1", "done", "done")
		m.Ended, m.Downtime = before(0), &managerv1.Downtime{Total: ms(300), Switch: ms(260), SourceExit: ms(35), Handover: ms(5)}
		f.move("m2", "g2", "running", "")
	case 4:
		f.move("m2", "g2", "done", "done").OutcomeReason = "runs on h2"
		f.domains, f.decisions[0].Status = nil, "done"
	case 6: // its report comes later
		f.hosts[0].State = "drained"
	}
	return nil
}

func TestEvacuate(t *testing.T) {
	t.Run("to the end", func(t *testing.T) {
		f := evacuation()
		f.tick = f.goodCourse
		r := newRunner(t, f)
		got := r.do(t.Context(), "evacuate", "h1", "--reason", "disk")
		want := `h1 is being evacuated: 2 guests, decision d9
g1  h1 → h2  running
g2  h1 → h2  planned  for a free slot
g1  h1 → h2  done  in 1.0s, down for 300 ms (switch 260 ms, source's exit 35 ms, hand-over 5 ms)
g2  h1 → h2  running
g2  h1 → h2  done  runs on h2
h1 is empty: it can be shut down.
`
		if got.code != 0 || got.out != want || got.err != "" {
			t.Errorf("exit %d\n got:\n%s%s\nwant:\n%s", got.code, got.out, got.err, want)
		}
		if req, ok := f.asked[0].(*managerv1.EvacuateHostRequest); !ok || req.Host != "h1" || req.Reason != "disk" || len(f.asked) != 1 {
			t.Errorf("asked %v", f.asked)
		}
	})
	t.Run("on a terminal", func(t *testing.T) {
		f := evacuation()
		f.tick = f.goodCourse
		r := newRunner(t, f)
		r.shows = true
		r.getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
		got := r.do(t.Context(), "evacuate", "h1")
		got.expect(t, 0, "g1  h1 → h2  [████████████░░░░░░░░░░░░]  running  50 %  1 MiB/s\n", "\x1b[2A\x1b[2K", "h1 is empty")
	})
	t.Run("as JSON", func(t *testing.T) {
		f := evacuation()
		f.tick = f.goodCourse
		got := newRunner(t, f).do(t.Context(), "evacuate", "h1", "--json")
		got.expect(t, 0)
		for line := range strings.Lines(got.out) {
			if !strings.HasPrefix(line, `{"id":"m`) {
				t.Errorf("line %q", line)
			}
		}
	})
	t.Run("some stay", func(t *testing.T) {
		f := evacuation()
		f.tick = func(n int) error {
			if n == 2 {
				f.hosts[0].State, f.decisions[0].Status, f.decisions[0].Resolution = "evacuating", "done", "1 guest stayed: g1: no host has its network"
			}
			return nil
		}
		newRunner(t, f).do(t.Context(), "evacuate", "h1").expect(t, 5, "vireo: 1 guest stayed on h1: g1\n", "no host has its network")
	})
	t.Run("somebody returns the host meanwhile", func(t *testing.T) {
		f := evacuation()
		f.tick = func(int) error { f.decisions[0].Status = "superseded"; return nil }
		newRunner(t, f).do(t.Context(), "evacuate", "h1").expect(t, 5, "the evacuation of h1 was ended: superseded")
	})
	t.Run("the manager is restarted meanwhile", func(t *testing.T) {
		f := evacuation()
		f.tick = func(n int) error {
			if n > 1 && n < 20 {
				return errAway
			}
			return f.goodCourse(min(n, 1) + max(0, n-20))
		}
		newRunner(t, f).do(t.Context(), "evacuate", "h1").expect(t, 0, "The manager does not answer; the guests go on moving.", "The manager is back.", "h1 is empty")
	})
	t.Run("the manager stays away", func(t *testing.T) {
		f := evacuation()
		f.tick = func(int) error { return errAway }
		r := newRunner(t, f)
		clock := noon
		r.now = func() time.Time { return clock }
		r.pause = func(ctx context.Context, d time.Duration) error { clock = clock.Add(d); return ctx.Err() }
		r.do(t.Context(), "evacuate", "h1").expect(t, 1, "Waiting for it.", "vireo: starting")
		if waited := clock.Sub(noon); waited < patienceAway || waited > patienceAway+2*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
	t.Run("detached", func(t *testing.T) {
		f := evacuation()
		f.tick = func(int) error { t.Error("followed"); return nil }
		newRunner(t, f).do(t.Context(), "evacuate", "h1", "--detach").expect(t, 0, "h1 is being evacuated (decision d9)")
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := evacuation()
		f.tick = func(n int) error {
			if n == 3 {
				cancel()
			}
			return nil
		}
		newRunner(t, f).do(ctx, "evacuate", "h1").expect(t, 130, "the evacuation of h1 goes on", "vireo return h1")
	})
	t.Run("refused", func(t *testing.T) {
		f := evacuation()
		f.refuse = apierr.New(apierr.Policy, "h1 is unknown: its agent would have to move its guests")
		newRunner(t, f).do(t.Context(), "evacuate", "h1").expect(t, 4, "vireo: h1 is unknown")
	})
}

func TestEvacuateAsks(t *testing.T) {
	ask := func(t *testing.T, answer string, args ...string) (result, *fakeManager) {
		t.Helper()
		f := evacuation()
		f.tick = f.goodCourse
		r := newRunner(t, f)
		r.asks, r.in = true, strings.NewReader(answer)
		return r.do(t.Context(), append([]string{"evacuate", "h1"}, args...)...), f
	}
	for _, answer := range []string{"y\n", "YES\n"} {
		got, _ := ask(t, answer)
		got.expect(t, 0, "Evacuate h1 now? [y/N]", "no host has its network", "h1 is empty")
	}
	for _, answer := range []string{"", "\n", "n\n", "yikes\n"} {
		got, f := ask(t, answer)
		got.expect(t, 1, "nothing was done")
		if len(f.asked) > 0 {
			t.Errorf("answer %q: asked %v", answer, f.asked)
		}
	}
	got, _ := ask(t, "", "--yes")
	got.expect(t, 0)
	if strings.Contains(got.err, "[y/N]") {
		t.Error("asked in spite of --yes")
	}

	f := evacuation()
	f.plan.Refused = "the disk is full"
	r := newRunner(t, f)
	r.asks, r.in = true, strings.NewReader("y\n")
	r.do(t.Context(), "evacuate", "h1").expect(t, 4, "the disk is full")
	r.do(t.Context(), "evacuate", "--dry-run", "h1").expect(t, 4, "It would be refused: the disk is full")
	f.plan = &managerv1.PlanEvacuationResponse{}
	r.do(t.Context(), "evacuate", "h1", "--dry-run").expect(t, 0, "no guest runs on h1")
	if len(f.asked) > 0 {
		t.Errorf("asked %v", f.asked)
	}
}

func TestFollowMigrations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := fleet() // m1 ended before anybody watched
	f.tick = func(n int) error {
		switch n {
		case 2:
			f.migrations[0].State, f.migrations[0].Outcome, f.migrations[0].OutcomeReason = "rolled_back", "rolled_back", "the target refused it"
		case 3: // begins and ends between two looks
			f.move("m3", "g7", "done", "done").OutcomeReason = "runs on h2"
		case 5:
			cancel()
		}
		return nil
	}
	got := newRunner(t, f).do(ctx, "migrations", "--follow")
	want := "g1  h1 → h2  running  for the copying to end\ng1  h1 → h2  rolled_back  the target refused it\ng7  h1 → h2  done  runs on h2\n"
	if got.code != 130 || got.out != want {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
}

func TestBarsFitTheScreen(t *testing.T) {
	r := newRunner(t, fleet())
	r.shows = true
	r.screen = func() (int, int) { return 60, 8 }
	f := r.follower()
	var many []*managerv1.Migration
	for range 20 {
		many = append(many, &managerv1.Migration{DomainName: "guest", Source: "h1", Target: "h2", State: "running",
			Waiting: strings.Repeat("for something ", 10)})
	}
	for range 2 {
		if err := f.show(many); err != nil {
			t.Fatal(err)
		}
	}
	text := r.out.String()
	if f.lines != 6 || strings.Count(text, "\n") != 12 || !strings.Contains(text, "\x1b[6A") || !strings.Contains(text, "and 15 before them") {
		t.Errorf("%d lines drawn: %q", f.lines, text)
	}
}

func TestProgressBar(t *testing.T) {
	for _, tt := range []struct {
		migration *managerv1.Migration
		want      string
	}{
		{&managerv1.Migration{State: "planned"}, "░░░░"},
		{&managerv1.Migration{State: "running", Progress: &managerv1.Progress{DataTotal: 8, DataRemaining: 8}}, "░░░░"},
		{&managerv1.Migration{State: "running", Progress: &managerv1.Progress{DataTotal: 8, DataRemaining: 4}}, "██░░"},
		{&managerv1.Migration{State: "running", Progress: &managerv1.Progress{DataTotal: 8, DataRemaining: 100}}, "░░░░"},
		{&managerv1.Migration{State: "committing"}, "████"},
		{&managerv1.Migration{State: "done", Outcome: "done"}, "████"},
		{&managerv1.Migration{State: "rolled_back", Outcome: "rolled_back"}, "░░░░"},
	} {
		if got := progressBar(tt.migration, 4); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.migration, got, tt.want)
		}
	}
}

func TestEventsEndWithAnError(t *testing.T) {
	f := fleet()
	f.refuse = apierr.New(apierr.Permission, "viewers only")
	got := newRunner(t, f).do(t.Context(), "events", "--follow", "--host", "h1", "--after", "7")
	got.expect(t, 4, "g9 runs twice", "vireo: viewers only")
	if req, ok := f.asked[0].(*managerv1.WatchEventsRequest); !ok || !req.Follow || req.Host != "h1" || req.After != 7 || req.Last != 0 {
		t.Errorf("asked %v", f.asked)
	}
}
