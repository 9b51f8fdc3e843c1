package manager

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// move is an open row, and what this manager has seen of it. All but the row is
// gone with the manager; the next one sees it again.
type move struct {
	row   migration.Row
	dirty bool // something that is only shown has changed

	// The target's absence counts only when it was asked for after the source's
	// last word: lastWord is that word, fresh the number of the ask, 0 when
	// there was none since, freshIn the session it was sent in.
	lastWord sourceWord
	fresh    uint64
	freshIn  *Session
	freshAt  time.Time
	looked   map[string]time.Time // by host: when it was last asked

	watch   migration.Watch
	cpuTime time.Duration // of the running copy on the target, when first seen
	cpuSeen bool
	moving  bool      // it has grown since
	arrived time.Time // when it was first seen to run there, by this manager's clock

	leftover bool // the source keeps its definition: it was not the attempt's to remove

	hand hand // of a migration by hand

	waiting string
	failing string // the last order that was not obeyed, "" when one was since
	stuck   stuck
	steps   steps
}

// sourceWord is what of the source's word ends older words of the target.
type sourceWord struct {
	presence migration.Presence
	gone     migration.Gone
	call     migration.Call
	void     bool
}

// stuck remembers since when a move needs attention, and for what it alarmed.
type stuck struct {
	since   time.Time
	alarmed string
}

// steps are the hosts' own times of the switch, for the downtime's shares.
type steps struct {
	stopped, complete, gone, resumed time.Time
}

func newMove(r migration.Row) *move {
	return &move{row: r, looked: map[string]time.Time{}}
}

// begun says whether the source's call was seen to have begun.
func (m *move) begun() bool {
	switch m.row.State {
	case migration.Planned, migration.Claimed, migration.Preparing:
		return false
	}
	return true
}

// breath is how long a guest that has just arrived keeps its slot unless its row
// is done before, which is usual: it warms up on the target while libvirt tidies
// up, and the next QEMU starting at once would take the processor from it. That
// made pauses 80 ms longer on two cores, and no evacuation shorter.
const breath = time.Second

// busy says whether a row takes a slot: from its claim until the guest has
// settled in on the target. What is left then costs nobody bandwidth, and a row
// that waits for a person blocks no other.
func (m *move) busy(now time.Time) bool {
	switch {
	case m.row.State == migration.Planned, ended(m.row), m.row.State == migration.Unclear:
		return false
	case m.row.State == migration.Committing:
		return m.arrived.IsZero() || now.Sub(m.arrived) < breath
	}
	return true
}

// step adds to the row's story.
func (m *move) step(now time.Time, name, detail string) {
	m.row.Steps = append(m.row.Steps, migration.Step{At: now, Name: name, Detail: detail})
	m.dirty = true
}

// stepOnce adds to the row's story what is not in it yet.
func (m *move) stepOnce(now time.Time, name, detail string) {
	if !slices.ContainsFunc(m.row.Steps, func(s migration.Step) bool { return s.Name == name && s.Detail == detail }) {
		m.step(now, name, detail)
	}
}

// told notes the first time that an order was sent, and by which line; what the line
// says, enter has told.
func (m *move) told(now time.Time, act migration.Action, host string) {
	name, detail := "ordered "+string(act.Order), host
	if act.Line > 0 {
		detail += fmt.Sprintf(" (line %d)", act.Line)
	}
	m.stepOnce(now, name, detail)
}

// saw notes the first time that something was seen.
func (m *move) saw(now time.Time, name, detail string) {
	if !slices.ContainsFunc(m.row.Steps, func(s migration.Step) bool { return s.Name == name }) {
		m.step(now, name, detail)
	}
}

// enter changes the state that is shown. A line of the table is told also when it
// changes no state.
func (m *move) enter(now time.Time, act migration.Action) {
	name, why := string(act.State), act.Reason()
	switch {
	case act.State == "":
	case act.State != m.row.State:
		m.row.State = act.State
		m.step(now, name, why)
	case act.Line > 0:
		m.stepOnce(now, name, why)
	}
}

// see takes what both sides show into what is only shown, and notices when the
// source's word has changed.
func (c *Core) see(m *move, now time.Time) {
	if m.row.State == migration.Planned {
		return
	}
	source, target := c.hosts[m.row.Source], c.hosts[m.row.Target]
	if source == nil || target == nil {
		return
	}
	a := c.sourceCopy(m)
	if w := (sourceWord{a.Presence, a.Gone, a.Call, a.Void}); a.Presence != migration.Unknown && w != m.lastWord {
		m.lastWord, m.fresh = w, 0
	}
	switch s := source.word(m.row.Domain); {
	case s == nil, source.dead():
	case s.GetAttempt() == m.row.ID:
		c.seeSource(m, s, now)
	case isByHand(m.row):
	case m.begun() && m.row.State != migration.Committing && source.BootID == m.row.SourceBoot:
		// It had begun here in this boot, and its agent knows nothing of it. What
		// it says of processes may be from before the call: only its void of the
		// attempt, which it gives once no call can be out, makes that a word.
		c.giveUp(m, "the agent of "+m.row.Source+" has lost its journal", now)
	}
	if s := target.word(m.row.Domain); s != nil {
		c.seeTarget(m, s, now)
	}
	m.row.Downtime = m.steps.downtime()
}

func (c *Core) seeSource(m *move, s *sight, now time.Time) {
	if j := s.GetJob(); j != nil && j.GetDataTotal() > 0 {
		m.row.Progress = migration.Progress{
			DataTotal: j.GetDataTotal(), DataProcessed: j.GetDataProcessed(), DataRemaining: j.GetDataRemaining(),
			BytesPerSecond: j.GetMemoryBps(), DirtyBytesPerSecond: j.GetMemoryDirtyRate(), Iteration: j.GetIteration(), At: now,
		}
		m.watch = m.watch.See(m.row.Progress)
		m.dirty = true
	}
	m.seePause(s)
	if s.GetDefinition() != "" && m.row.Before.InactiveXML == "" {
		m.row.Before.InactiveXML = s.GetDefinition()
		m.dirty = true
	}
	if at, ok := m.first(&m.steps.stopped, s.GetStoppedAt()); ok {
		m.saw(now, "stopped on the source", stamp(at))
	}
	if at, ok := m.first(&m.steps.gone, s.GetGoneAt()); ok {
		m.saw(now, "gone on the source", stamp(at))
	}
	if s.GetCallError() != "" {
		m.saw(now, "libvirt says", s.GetCallError())
	}
}

// seePause follows what the owner does while the guest is on its way: as it leaves
// it arrives. What is seen before the move may be older than its order.
func (m *move) seePause(s *sight) {
	if m.row.State == migration.Committing || isByHand(m.row) {
		return
	}
	was := m.row.Before.Paused
	switch {
	case s.GetPause() == agentv1.Pause_PAUSE_OWNER:
		m.row.Before.Paused = true
	case s.GetState() == agentv1.DomainState_DOMAIN_STATE_RUNNING:
		m.row.Before.Paused = false
	}
	m.dirty = m.dirty || was != m.row.Before.Paused
}

func (c *Core) seeTarget(m *move, s *sight, now time.Time) {
	if s.GetLiveAttempt() == m.row.ID || s.GetAttempt() == m.row.ID {
		if at, ok := m.first(&m.steps.complete, s.GetCompleteAt()); ok {
			m.saw(now, "complete on the target", stamp(at))
		}
		if at, ok := m.first(&m.steps.resumed, s.GetResumedAt()); ok {
			m.saw(now, "runs on the target", stamp(at))
		}
	}
	if presence(s.Domain) != migration.Alive {
		return
	}
	if m.row.State == migration.Committing {
		if m.arrived.IsZero() {
			m.arrived = now
		}
		if m.steps.resumed.IsZero() {
			m.steps.resumed = now // an agent that was restarted has forgotten when
			m.saw(now, "runs on the target", "seen")
		}
	}
	cpu := s.GetCpuTime().AsDuration()
	if m.cpuSeen && cpu > m.cpuTime {
		m.moving = true
	} else if !m.cpuSeen {
		m.cpuSeen, m.cpuTime = true, cpu
	}
}

// first takes a host's time stamp once.
func (m *move) first(to *time.Time, at *timestamppb.Timestamp) (time.Time, bool) {
	if at == nil || !to.IsZero() {
		return time.Time{}, false
	}
	*to = at.AsTime()
	return *to, true
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

// downtime shares the pause out. The times come from two hosts' clocks: a share
// that their difference makes negative is nothing, and the shares sum to the total.
func (s steps) downtime() migration.Downtime {
	if s.stopped.IsZero() || s.resumed.IsZero() {
		return migration.Downtime{}
	}
	total := max(0, s.resumed.Sub(s.stopped))
	between := func(from, to time.Time) time.Duration {
		if from.IsZero() || to.IsZero() {
			return 0
		}
		return min(total, max(0, to.Sub(from)))
	}
	d := migration.Downtime{Total: total}
	d.Switch = between(s.stopped, s.complete)
	d.SourceExit = min(total-d.Switch, between(s.complete, s.gone))
	d.Handover = total - d.Switch - d.SourceExit
	return d
}

// watch looks at what time alone changes in a move: give up, alarm.
func (c *Core) watch(m *move, now time.Time) {
	if m.row.AbortReason == "" && !isByHand(m.row) {
		if why := migration.GiveUp(m.row, m.watch, c.pol.Stall, now); why != "" {
			c.giveUp(m, why, now)
		}
	}
	if m.stuck.since.IsZero() || now.Sub(m.stuck.since) < c.pol.Pace.Alarm || m.stuck.alarmed == m.waiting {
		return
	}
	m.stuck.alarmed = m.waiting
	text := fmt.Sprintf("%s → %s waits for %s: %s", m.row.Source, m.row.Target, now.Sub(m.stuck.since).Round(time.Second), m.waiting)
	c.event(now, store.Event{Kind: "migration.waits", Severity: store.Alarm, Host: m.row.Source, Domain: m.row.Domain, Migration: m.row.ID, Text: text})
	c.log.Error("move waits", "domain", m.row.Domain, "migration", m.row.ID, "reason", m.waiting)
}

// giveUp asks a move to end; what is true decides how it does.
func (c *Core) giveUp(m *move, why string, now time.Time) {
	if m.row.AbortReason != "" || ended(m.row) {
		return
	}
	m.row.AbortReason = why
	m.step(now, "to be given up", why)
}

func (c *Core) sortedMoves() []*move {
	return slices.SortedFunc(maps.Values(c.moves), func(a, b *move) int {
		return cmp.Or(a.row.Planned.Compare(b.row.Planned), cmp.Compare(a.row.ID, b.row.ID))
	})
}

// moveOf is the open row of a domain.
func (c *Core) moveOf(domain string) *move { return c.moving[domain] }

func (c *Core) addMove(r migration.Row) {
	m := newMove(r)
	c.moves[r.ID], c.moving[r.Domain] = m, m
}

// paused says whether a guest stands still because of its move.
func paused(m *move, a, b migration.Copy) bool {
	if m.row.Before.Paused {
		return false
	}
	return a.Presence == migration.Paused || a.Presence != migration.Alive && b.Presence == migration.Paused
}

// outcomeOf says in words why a row ended as it did, from what was seen. What the
// source's call has returned explains a move that has failed, not one that is done.
func (m *move) outcomeOf(state migration.State, source *agentv1.Domain, why string) string {
	if state == migration.Done {
		if m.row.AbortReason != "" {
			why += "; too late to be given up: " + m.row.AbortReason
		}
		return why
	}
	if e := source.GetCallError(); e != "" && source.GetAttempt() == m.row.ID {
		why = "libvirt: " + e
	}
	if m.row.AbortReason != "" && m.row.AbortReason != why {
		return m.row.AbortReason + " (" + why + ")"
	}
	return why
}
