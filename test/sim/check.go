package sim

import (
	"cmp"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/configs"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// truth is what the checks remember from one event to the next.
type truth struct {
	procs map[procKey]virttest.Guest
	twice map[string]time.Duration // by domain: since when it runs twice
	still map[string]time.Duration // by domain: since when a move keeps it from running
	// seen is the state of the fleet and of the ledger that was checked last.
	seen [2]uint64
}

type procKey struct {
	host string
	pid  int
}

func newTruth() truth {
	return truth{procs: map[procKey]virttest.Guest{}, twice: map[string]time.Duration{}, still: map[string]time.Duration{}}
}

// check holds the truth against the rules. s.cause says what has just happened.
func (s *Sim) check() {
	if s.opts.Rule != nil {
		if err := s.opts.Rule(len(s.house.ledger.claims), s.counts["evacuations"]); err != nil {
			s.fail("%w", err)
		}
	}
	seen := [2]uint64{s.fleet.Changes(), s.house.ledger.commits}
	if seen == s.truth.seen && len(s.truth.twice)+len(s.truth.still) == 0 {
		return
	}
	s.truth.seen = seen
	now := map[procKey]virttest.Guest{}
	all := s.fleet.Guests()
	for _, g := range all {
		now[procKey{g.Host, g.Process.PID}] = g
	}
	for _, key := range sortedProcs(s.truth.procs) {
		if was := s.truth.procs[key]; now[key].UUID == "" {
			s.ended(was, all)
		}
	}
	for _, g := range all {
		was := s.truth.procs[procKey{g.Host, g.Process.PID}]
		if was.UUID == "" || was.State != g.State || was.Reason != g.Reason || was.Incoming != g.Incoming {
			s.say("truth: %s on %s is %s (%s) attempt %q, by %s", nameOf(g.UUID), g.Host, g.State, g.Reason, g.Attempt, s.cause)
		}
		if was.UUID == "" && !g.Incoming && g.Running() && strings.HasPrefix(s.cause, "agent ") {
			s.guest(g.UUID).paused = false // an autostart that was made up for: nobody has paused this process
		}
		if g.Running() && !was.Running() && was.UUID != "" && s.guest(g.UUID).paused && !s.guest(g.UUID).tainted() && strings.HasPrefix(s.cause, "agent ") {
			s.fail("%s was paused by its owner, and runs on %s (by %s)", nameOf(g.UUID), g.Host, s.cause)
		}
		if g.Revived && !was.Revived && !s.guest(g.UUID).tainted() && !strings.HasPrefix(s.cause, "user") {
			s.fail("%s on %s runs on with memory of %s, and has run elsewhere until %s: its disks are newer (by %s)",
				nameOf(g.UUID), g.Host, g.Memory, s.fleet.LastRun(g.UUID), s.cause)
		}
	}
	s.truth.procs = now
	for _, g := range s.guests {
		s.checkGuest(g, all)
	}
}

func (s *Sim) checkGuest(g *guest, all []virttest.Guest) {
	running, present, byMove := 0, 0, false
	var on []string
	for _, p := range all {
		if p.UUID != g.uuid {
			continue
		}
		present++
		if p.Running() {
			running++
			on = append(on, p.Host)
		}
	}
	t, at := &s.truth, s.fleet.Now()
	if running > 1 && !g.tainted() {
		s.fail("%s runs on %v (by %s)", g.name, on, s.cause)
	}
	if running > 1 {
		if _, known := t.twice[g.uuid]; !known {
			t.twice[g.uuid] = at
			s.count("ran twice by a user")
		}
		s.checkTwice(g, on)
	} else {
		delete(t.twice, g.uuid)
	}
	row, open := s.house.ledger.open(g.uuid)
	unknown := s.restored > 0 && at-s.restored < 2*time.Minute // what has no row may be a move all the same
	if g.taint != "" && present <= 1 && !open && !unknown && !s.fleet.Moving(g.uuid) {
		s.say("truth: %s is clean again (%s)", g.name, g.taint)
		g.taint = ""
		// What a user left paused is paused by its owner, however it came to that.
		g.paused = present == 1 && running == 0
	}
	byMove = running == 0 && present > 0 && !g.paused
	if !byMove {
		delete(t.still, g.uuid)
		return
	}
	if _, known := t.still[g.uuid]; !known {
		t.still[g.uuid] = at
	}
	s.checkStill(g, row, open)
}

// grace is how long messages, retries and a slow pass of the manager may take.
const grace = 20 * time.Second

// checkTwice: what nobody could prevent is ambiguous within one report.
func (s *Sim) checkTwice(g *guest, on []string) {
	since := max(s.truth.twice[g.uuid], s.house.since)
	if !s.house.up() || s.house.frozen || s.house.ledger.full {
		s.truth.twice[g.uuid] = s.fleet.Now()
		return
	}
	for _, name := range on {
		st := s.byName[name]
		if !st.speaks() {
			s.truth.twice[g.uuid] = s.fleet.Now()
			return
		}
		since = max(since, st.since)
	}
	if s.fleet.Now()-since <= reportInterval+idle+grace {
		return
	}
	if c := s.house.ledger.claims[g.uuid]; c.Phase != store.Ambiguous {
		s.fail("%s runs on %v since %s and its claim is %q (holder %s)", g.name, on, since, c.Phase, c.Holder)
	}
}

// speaks says whether the manager hears what is true on the host.
func (st *station) speaks() bool {
	return st.core != nil && !st.frozen && st.link != nil && st.link.id != "" && !st.link.broken && st.link.house == st.s.house && st.host.Answers()
}

// checkStill: a guest that a move keeps from running has a row, and after five
// seconds somebody was told what it waits for.
func (s *Sim) checkStill(g *guest, row migration.Row, open bool) {
	t := &s.truth
	if !s.house.up() || s.house.frozen || s.house.ledger.full || s.house.ledger.recovering && !open {
		t.still[g.uuid] = s.fleet.Now()
		return
	}
	since := max(t.still[g.uuid], s.house.since)
	if s.fleet.Now()-since <= reportInterval+idle+grace || g.tainted() {
		return
	}
	if !open && s.house.ledger.left[g.uuid] < t.still[g.uuid] {
		s.fail("%s stands still since %s because of a move, no row knows of it, and nobody was told", g.name, since)
	}
	if !open {
		return
	}
	if _, told := s.house.ledger.alarmed[row.ID]; !told && row.State != migration.Unclear {
		s.fail("%s stands still since %s in row %s (%s), and nobody was told what it waits for", g.name, since, row.ID, row.State)
	}
}

// ended: a process is gone. What an order has destroyed must not have been the
// last whole copy of a guest.
func (s *Sim) ended(was virttest.Guest, all []virttest.Guest) {
	s.say("truth: %s on %s has ended, it was %s (%s), by %s", nameOf(was.UUID), was.Host, was.State, was.Reason, s.cause)
	if !ordered(s.cause, "destroy") || s.guest(was.UUID).tainted() {
		return
	}
	if was.Running() {
		s.fail("%s was destroyed on %s while it ran (by %s)", nameOf(was.UUID), was.Host, s.cause)
	}
	if was.Incoming || was.Memory < s.fleet.LastRun(was.UUID) {
		return // it was old, or never whole
	}
	for _, g := range all {
		if g.UUID == was.UUID && !g.Incoming && g.Memory >= was.Memory {
			return
		}
	}
	s.fail("%s on %s was the last whole copy of the guest, and was destroyed (by %s)", nameOf(was.UUID), was.Host, s.cause)
}

// undefined: an order has removed a definition. It must not have been the last.
func (s *Sim) undefined(uuid, host string) {
	if g := s.guest(uuid); len(s.fleet.DefinedOn(uuid)) == 0 && !g.tainted() && !g.byHand {
		s.fail("the last definition of %s was removed from %s by an order", nameOf(uuid), host)
	}
}

// leaves: a host's claim ends. It must not run the guest, unless somebody has
// started it there after its agent has spoken.
func (s *Sim) leaves(domain, host, why string) {
	for _, g := range s.fleet.Guests() {
		if g.UUID == domain && g.Host == host && g.Running() && !s.guest(domain).tainted() &&
			(s.byName[host].mode == configs.HookEnforce || s.fleet.Now()-s.guest(domain).started > grace) {
			s.fail("%s runs on %s: %s", nameOf(domain), host, why)
		}
	}
}

// answered: an agent has obeyed or refused.
func (s *Sim) answered(st *station, r *agentv1.OrderResult) {
	h := st.heard[r.GetOrder()]
	if h == nil || h.answered {
		return
	}
	obeyed := r.GetOutcome() == agentv1.Outcome_OUTCOME_DONE || r.GetOutcome() == agentv1.Outcome_OUTCOME_BEGUN
	h.answered = obeyed
	if obeyed && h.stale != "" {
		s.fail("%s obeyed %s (%s), which is %s", st.name, r.GetOrder(), kind(h.order), h.stale)
	}
	if obeyed && h.order.GetRelease() != nil {
		s.gaveUp(st, h.order.GetDomain())
	}
}

// gaveUp: a host says that it has nothing of a domain. Its last look must have
// shown that: what was here then, and still is, it has overlooked.
func (s *Sim) gaveUp(st *station, domain string) {
	looked := st.checked[domain].at
	for _, g := range s.fleet.Guests() {
		if began := time.Duration(g.Process.StartTime) * 10 * time.Millisecond; g.UUID == domain && g.Host == st.name && began < looked {
			s.fail("%s has given up %s, whose process %d was there when it looked at %s", st.name, nameOf(domain), g.Process.PID, looked)
		}
	}
}

// journaled: what an agent knows never goes back.
func (s *Sim) journaled(st *station, old, next journal.Domain) {
	if next.Generation < old.Generation || next.Generation == old.Generation && next.Epoch < old.Epoch {
		s.fail("%s: the epoch of %s goes back from %d to %d", st.name, nameOf(next.UUID), old.Epoch, next.Epoch)
	}
	if old.Attempt != nil && old.Attempt.Stage == journal.Void && next.Attempt != nil && next.Attempt.ID == old.Attempt.ID && next.Attempt.Stage != journal.Void {
		s.fail("%s: attempt %s was void and is %s", st.name, old.Attempt.ID, next.Attempt.Stage)
	}
	if next.Phase == journal.Held && next.Confirmed && !(old.Phase == journal.Held && old.Confirmed) {
		st.believes(next)
	}
	was := old.Attempt
	if was == nil || was.Departure == nil || was.Stage != journal.Started || next.Attempt == nil || next.Attempt.ID != was.ID || next.Attempt.Stage != journal.Void {
		return
	}
	// What was learnt while the journal could not be written comes with it.
	switch dep := cmp.Or(next.Attempt.Departure, was.Departure); {
	case dep.Gone == journal.ByTheMove && !st.checked[next.UUID].process:
		s.fail("%s voids attempt %s, by which its process has gone: the target's copy is the guest", st.name, was.ID)
	case dep.Gone == "" && dep.Call == journal.CallOut:
		s.fail("%s voids attempt %s while its call is out", st.name, was.ID)
	case dep.Gone == "" && dep.Destroying:
		s.fail("%s voids attempt %s while its process is being destroyed by order: the target's copy is the guest", st.name, was.ID)
	}
}

// believes: a host takes what it was told in this boot for a permission, and
// nothing else.
func (st *station) believes(d journal.Domain) {
	if boot := st.s.house.gave[permission{st.name, d.UUID, d.Epoch}]; boot != st.host.BootID() {
		st.s.fail("%s believes that it holds %s with epoch %d: it was given in boot %q, this is %s", st.name, nameOf(d.UUID), d.Epoch, boot, st.host.BootID())
	}
	// What it takes late may be the next epoch's already; it may not be another's.
	c := st.s.house.ledger.claims[d.UUID]
	if d.Generation == st.s.house.generation && c.Holder != st.name && c.Target != st.name && c.Phase != store.Ambiguous && !st.s.guest(d.UUID).tainted() {
		st.s.fail("%s believes that it holds %s with epoch %d: the store says %q by %q, epoch %d", st.name, nameOf(d.UUID), d.Epoch, c.Phase, c.Holder, c.Epoch)
	}
}

// wrong says what is not at rest, "" when all is.
func (s *Sim) wrong() (what string, person string) {
	l := s.house.ledger
	for _, g := range s.guests {
		if w, p := s.wrongWith(g, s.fleet.Guests()); w != "" {
			return w, p
		}
	}
	for _, id := range sorted(l.owed) {
		return "owed for ever: " + id, ""
	}
	return "", ""
}

// wrongWith says what is not at rest with one guest. A person is named when
// only a person can end it.
func (s *Sim) wrongWith(g *guest, all []virttest.Guest) (what, person string) {
	l := s.house.ledger
	var here []virttest.Guest
	running := 0
	for _, p := range all {
		if p.UUID == g.uuid {
			here = append(here, p)
			if p.Running() {
				running++
			}
		}
	}
	claim, claimed := l.claims[g.uuid]
	row, open := l.open(g.uuid)
	// Where the journal is lost a copy does not differ from a guest that its owner has paused, unless the store knows the move.
	copyLeft := !open && running == 0 && len(here) == 1 && l.left[g.uuid] > 0 &&
		(!g.paused && l.left[g.uuid] >= s.truth.still[g.uuid] || g.paused && (!claimed || s.restored > 0 && l.left[g.uuid] >= s.restored))
	switch {
	case open && row.State == migration.Unclear, claim.Phase == store.Ambiguous && len(here) > 1:
		return g.name + " needs a person: " + string(row.State), g.uuid
	case open && g.tainted() && len(here) > 0 && l.alarmed[row.ID] > 0:
		return g.name + ": row " + row.ID + " waits after " + g.taint, g.uuid
	case open:
		return g.name + ": row " + row.ID + " is " + string(row.State), ""
	case len(here) > 1 && g.tainted():
		return g.name + " has more than one process by a user's doing", g.uuid
	case len(here) > 1 && running == 1 && s.restored > 0 && l.left[g.uuid] >= s.restored:
		return g.name + " has a copy that a restored store has forgotten", g.uuid
	case len(here) > 1:
		return g.name + " has a leftover process", ""
	case len(here) == 0 && claimed:
		return g.name + " has ended and is claimed by " + claim.Holder, ""
	case len(here) == 0:
		return "", ""
	case (!claimed || claim.Phase != store.Held || claim.Holder != here[0].Host) && !copyLeft:
		return g.name + " runs on " + here[0].Host + ", its claim is " + string(claim.Phase) + " by " + claim.Holder, ""
	case running == 0 && !g.paused && g.tainted():
		return g.name + " stands still by a user's doing", g.uuid
	case copyLeft:
		return g.name + ": a copy that no move brings", g.uuid
	case running == 0 && !g.paused:
		return g.name + " stands still on " + here[0].Host, ""
	}
	st := s.byName[here[0].Host]
	if st.core == nil {
		return st.name + " has no agent", ""
	}
	if d := st.files.State().Domains[g.uuid]; d.Phase != journal.Held || !d.Confirmed || d.Epoch != claim.Epoch {
		return g.name + ": the journal of " + st.name + " says " + string(d.Phase) + ", and its claim is held", ""
	}
	return "", ""
}

// patience is how long people look at an alarm before they act.
const patience = 3 * time.Minute

// waited says whether a person would act by now: nothing ends by itself.
func (g *guest) waited(s *Sim) bool {
	if g.asked == 0 || s.fleet.Now()-g.asked > 10*time.Minute {
		g.asked = s.fleet.Now()
	}
	return s.fleet.Now()-g.asked >= patience
}
