package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/migration"
)

func TestPauseLimit(t *testing.T) {
	for _, c := range []struct {
		most time.Duration
		pass int
		want time.Duration
	}{
		{0, 1, 30 * time.Millisecond},
		{0, 100, 300 * time.Millisecond},
		{time.Second, 1, 100 * time.Millisecond},
		{time.Second, 2, 100 * time.Millisecond},
		{time.Second, 3, 200 * time.Millisecond},
		{time.Second, 6, time.Second},
		{5 * time.Millisecond, 1, time.Millisecond},
		{time.Millisecond, 9, time.Millisecond},
	} {
		if got := pauseLimit(c.most, firstPause, c.pass); got != c.want {
			t.Errorf("most %v, pass %d: %v, want %v", c.most, c.pass, got, c.want)
		}
	}
}

// TestPauseGrowsWithThePasses: a guest that is too busy for a short pause gets a
// longer one pass by pass, up to what was ordered; once it stands still, nothing
// is asked of its QEMU any more. An emulated guest has the whole limit at once.
func TestPauseGrowsWithThePasses(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name, kind string
		dirty      uint64 // bytes/s, of the 100 MiB/s that the link takes
		want       []time.Duration
	}{
		{"idle", "kvm", 1 << 20, []time.Duration{30 * ms}},
		{"third pass is the last", "kvm", 8 << 20, []time.Duration{30 * ms}},
		{"busy", "kvm", 80 << 20, []time.Duration{30 * ms, 60 * ms, 120 * ms, 240 * ms, 300 * ms}},
		{"emulated", "qemu", 80 << 20, []time.Duration{300 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "h1", "h2")
			w.bootXML("h1", strings.Replace(guestXML("g1", guest), "type='qemu'", "type='"+c.kind+"'", 1))
			w.hosts["h1"].host.SetLoad(guest, 100<<20, c.dirty)
			b := newBoss(w, "h1", "h2")
			w.until("the row's end", func() bool { return b.row.State.Ended() })
			if got := w.hosts["h1"].limits; b.row.State != migration.Done || !slices.Equal(got, c.want) {
				t.Errorf("%s with limits %v, want done with %v", b.row.State, got, c.want)
			}
		})
	}
}

// TestPauseOutlivesTheAgent: an agent that was started again during the move keeps
// to the limit that was ordered.
func TestPauseOutlivesTheAgent(t *testing.T) {
	w, a, b := stage(t)
	a.host.SetLoad(guest, 100<<20, 80<<20)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	move := a.moves()
	move.MaxDowntime = durationpb.New(40 * time.Millisecond)
	a.mustSay(t, begunOutcome, "", say(11, "m1", move))
	w.until("it has begun", func() bool { return len(a.limits) > 0 })
	a.kill()
	a.start()
	a.open(5)
	a.limits = nil
	w.until("the limit is reached", func() bool { return slices.Contains(a.limits, 40*time.Millisecond) })
	w.until("the copy is complete", func() bool { return b.sees().GetComplete() })
	if most := slices.Max(a.limits); most != 40*time.Millisecond {
		t.Errorf("limits %v, want 40 ms at most", a.limits)
	}
}

// TestPauseOfAnothersMove: what somebody migrates by hand keeps libvirt's limit.
func TestPauseOfAnothersMove(t *testing.T) {
	w := newWorld(t, "h1", "h2")
	w.boot("h1")
	h1, h2 := w.hosts["h1"], w.hosts["h2"]
	h1.open(1)
	h1.host.SetLoad(guest, 100<<20, 80<<20)
	over := false
	must(t, h1.host.StartMigrate(virt.MigrateParams{UUID: guest, DestURI: h2.host.URI(), Persist: true}, func(error) { over = true }))
	w.until("it has come", func() bool { return over })
	if len(h1.limits) > 0 {
		t.Errorf("limits %v", h1.limits)
	}
}
