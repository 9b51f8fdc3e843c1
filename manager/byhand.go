package manager

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// A migration that somebody starts by hand (virsh migrate) has a row and an
// attempt like every other, but no call of the source's agent: whether libvirt is
// at work is seen from the job that it shows. Nobody guards its switch; what is
// true afterwards decides by the same table.

// byHand is the step that marks such a row.
const byHand = "by hand"

func isByHand(r migration.Row) bool { return len(r.Steps) > 0 && r.Steps[0].Name == byHand }

// handGrace is how long a migration by hand may take from its permission until
// the source shows a job. Concluding earlier that it is over would be guessing.
const handGrace = 40 * time.Second

// judgeIncoming answers a target's question whether somebody's migration may
// come in, and opens the transfer for it.
func (c *Core) judgeIncoming(h *host, cl *claim, q *agentv1.PermissionRequest, now time.Time) *agentv1.PermissionAnswer {
	d := q.GetDomain()
	name := cmp.Or(d.GetName(), d.GetUuid())
	switch {
	case cl == nil:
		return refuse(agentv1.Refusal_REFUSAL_HELD, "nobody holds the claim of %s: a migration of it has no source", name)
	case cl.Phase != store.Held || c.busyMove(d.GetUuid()), cl.Holder == h.Name:
		a := c.judgeClaimed(h, cl, d, now)
		if a.Granted {
			return refuse(agentv1.Refusal_REFUSAL_HELD, "%s: a migration of it cannot come in", standsAgainst(cl.Claim))
		}
		return a
	case d.GetPersistent():
		return refuse(agentv1.Refusal_REFUSAL_HOST, "%s has %s defined: a migration by hand could be mixed up with a start", h.Name, name)
	}
	source := c.hosts[cl.Holder]
	w := source.word(cl.Domain)
	if w == nil || !active(w.Domain) || !source.alive() {
		a := refuse(agentv1.Refusal_REFUSAL_HELD, "%s, and is not seen to run it", standsAgainst(cl.Claim))
		a.Holder, a.HolderEpoch, a.Since = cl.Holder, cl.Epoch, timestamppb.New(cl.Since)
		return a
	}
	if id := d.GetLiveAttempt(); id != "" && id != w.GetLiveAttempt() {
		// A copy of a move that is over and void looks like that. The guest itself has
		// the id of the move that brought it to where it runs, or has none.
		return refuse(agentv1.Refusal_REFUSAL_HELD, "what comes in carries the id of the move %s, and %s on %s does not: it is not that guest", id, name, cl.Holder)
	}
	want := wanted(d, cl.Holder)
	if no := c.notHere(h, false); no != nil {
		return c.withBetter(refuse(agentv1.Refusal_REFUSAL_HOST, "%s takes nothing new: %s", h.Name, no.why), h, want, now)
	}
	return c.openByHand(h, source, cl, w, want, now)
}

// openByHand writes the row and the claim in transferring, as begin does.
func (c *Core) openByHand(h, source *host, cl *claim, w *sight, want decide.Domain, now time.Time) *agentv1.PermissionAnswer {
	if m := c.moveOf(cl.Domain); m != nil { // planned, and overtaken by a person
		c.giveUp(m, "somebody moves it by hand to "+h.Name, now)
		c.conduct(m, now)
		if c.moveOf(cl.Domain) != nil {
			return refuse(agentv1.Refusal_REFUSAL_TRANSFERRING, "a move of %s is planned (%s)", cl.Name, m.row.ID)
		}
	}
	memory := cmp.Or(w.GetMemoryKib(), cl.MemoryKiB)
	row := migration.Row{
		ID: c.newID("m"), Domain: cl.Domain, DomainName: cl.Name, Source: source.Name, Target: h.Name, Reason: "somebody's virsh migrate; its switch is not guarded",
		State: migration.Running, Switchover: migration.Direct, SourceBoot: source.BootID, Planned: now, Started: now,
		Before: migration.Before{Paused: w.GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED, Autostart: w.GetAutostart(), MemoryKiB: memory},
		Steps:  []migration.Step{{At: now, Name: byHand, Detail: source.Name + " → " + h.Name}},
	}
	next := cl.Claim
	next.Phase, next.Attempt, next.Target, next.Since, next.GrantedBy, next.MemoryKiB = store.Transferring, row.ID, h.Name, now, "migration "+row.ID, memory
	switch err := c.writeTransfer("opening "+row.ID, cl.Epoch, &row, &next); {
	case errors.Is(err, errRefused):
		return c.withBetter(refuse(agentv1.Refusal_REFUSAL_CAPACITY, "%s has no room for %s: %s", h.Name, cl.Name, err), h, want, now)
	case err != nil:
		return refusalOf(err, agentv1.Refusal_REFUSAL_UNAVAILABLE)
	}
	c.addMove(row)
	c.setClaim(row.Domain, next, false)
	c.event(now, store.Event{Kind: "migration.started", Severity: store.Warning, Host: row.Source, Domain: row.Domain, Migration: row.ID,
		Text: fmt.Sprintf("%s → %s: by hand, its switch is not guarded", row.Source, row.Target)})
	return &agentv1.PermissionAnswer{Granted: true, Epoch: next.Epoch, Attempt: row.ID, Source: row.Source}
}

// watchHand notes whether libvirt's work on a migration by hand is over: its job
// was seen and is gone, or none came.
func (c *Core) watchHand(m *move, now time.Time) {
	if !isByHand(m.row) {
		return
	}
	w := c.sourceWord(m)
	switch {
	case w == nil:
	case w.GetJob() != nil:
		m.hand.job, m.hand.over = true, false
	default:
		t := c.targetWord(m)
		m.hand.over = (m.hand.job || now.Sub(m.row.Started) >= handGrace) && !t.GetStartInProgress()
	}
}

// hand is what was seen of a migration by hand.
type hand struct {
	job  bool // the source has shown one
	over bool // and shows none any more
}
