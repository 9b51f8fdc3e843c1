package manager

import (
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/migration"
)

// sourceCopy is what the source's word means for a row.
func (c *Core) sourceCopy(m *move) migration.Copy {
	h := c.hosts[m.row.Source]
	switch {
	case h == nil:
		return migration.Copy{}
	case h.dead():
		return migration.Copy{Presence: migration.None, Gone: migration.GoneUnexplained, Call: migration.CallEnded, Void: true, Fresh: true, Settled: true}
	}
	s := h.word(m.row.Domain)
	if s == nil {
		return migration.Copy{}
	}
	mine := s.GetAttempt() == m.row.ID
	out := migration.Copy{
		Presence: presence(s.Domain),
		Job:      s.GetJob() != nil,
		Void:     mine && s.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_VOID,
		// Its journal has closed the attempt too: until then it keeps watch over
		// it, with a connection to the target's libvirt.
		Settled: !active(s.Domain) && (m.leftover || !s.GetPersistent() && (!mine || closed(s.Domain))),
		Fresh:   true,
	}
	if out.Presence == migration.Paused {
		switch s.GetPause() {
		case agentv1.Pause_PAUSE_MOVE:
			out.Pause = migration.ByMove
		default:
			// Its owner paused it, or nobody knows who: it is the guest as it is
			// wanted, not something that a move left.
			out.Presence = migration.Alive
		}
	}
	switch {
	case isByHand(m.row) && !out.Void:
		// No agent has called: libvirt's job tells.
		out.Call = migration.CallOut
		if m.hand.over || m.row.State == migration.Committing || !active(s.Domain) {
			out.Call = migration.CallEnded
		}
	case mine:
		switch s.GetCall() {
		case agentv1.Call_CALL_OUT:
			out.Call = migration.CallOut
		case agentv1.Call_CALL_ENDED:
			out.Call = migration.CallEnded
		}
		if out.Void {
			out.Call = migration.CallEnded
		}
	case m.row.State == migration.Committing:
		// Settled agents forget an attempt; the claim is the target's already.
		out.Call = migration.CallEnded
	case h.BootID != m.row.SourceBoot:
		// A boot ends every call, and the journal with it.
		out.Call = migration.CallEnded
	case m.begun() && m.row.AbortReason == "":
		return migration.Copy{} // a lost journal: see gives the move up, and then asks for its void
	}
	if m.row.State == migration.Committing && m.row.Before.Persistent && !active(s.Domain) && !s.GetPersistent() {
		// The definition goes from the source only when the call ends; an agent
		// that was restarted meanwhile would have to wait to be sure.
		out.Call = migration.CallEnded
	}
	if out.Presence == migration.None {
		out.Gone = migration.GoneUnexplained
		if mine && h.BootID == m.row.SourceBoot {
			switch s.GetGone() {
			case agentv1.Gone_GONE_BY_THE_MOVE:
				out.Gone = migration.GoneByMove
			case agentv1.Gone_GONE_OTHERWISE:
				out.Gone = migration.GoneOtherwise
			}
		}
	}
	return out
}

// targetCopy is what the target's word means for a row. A process there always
// counts; its absence counts when it was asked for (Fresh), and the rest when it
// names this attempt.
func (c *Core) targetCopy(m *move) migration.Copy {
	h := c.hosts[m.row.Target]
	switch {
	case h == nil:
		return migration.Copy{}
	case h.dead():
		return migration.Copy{Presence: migration.None, Void: true, Fresh: true, Settled: true}
	}
	s := h.word(m.row.Domain)
	if s == nil {
		return migration.Copy{}
	}
	mine := s.GetAttempt() == m.row.ID
	out := migration.Copy{
		Presence: presence(s.Domain),
		Job:      s.GetJob() != nil,
		Void:     mine && s.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_VOID,
		Complete: s.GetComplete() && s.GetLiveAttempt() == m.row.ID,
		Moving:   m.moving,
		Fresh:    m.fresh != 0 && m.freshIn == h.session && s.asked >= m.fresh,
		// What somebody has undefined since is not defined again.
		Settled: (!mine || closed(s.Domain)) &&
			(!m.row.Before.Persistent || s.GetState() == agentv1.DomainState_DOMAIN_STATE_NONE || s.GetPersistent() && s.GetAutostart() == m.row.Before.Autostart),
	}
	switch s.GetAttemptState() {
	case agentv1.AttemptState_ATTEMPT_STATE_PREPARED, agentv1.AttemptState_ATTEMPT_STATE_STARTED, agentv1.AttemptState_ATTEMPT_STATE_ENDED:
		out.Prepared = mine
	}
	if out.Presence == migration.Paused {
		switch s.GetPause() {
		case agentv1.Pause_PAUSE_GUARD:
			if s.GetLiveAttempt() == m.row.ID {
				out.Pause = migration.ByGuard
			}
		case agentv1.Pause_PAUSE_OWNER:
			out.Pause = migration.ByOwner
		}
	}
	return out
}

// closed says whether an agent's journal has done with the attempt. A void one
// stays void, whatever the guest did after it by somebody else's hand.
func closed(d *agentv1.Domain) bool {
	return d.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_ENDED || d.GetAttemptState() == agentv1.AttemptState_ATTEMPT_STATE_VOID
}

// presence translates what libvirt shows. Any state but paused may execute; where
// a start is in progress nobody can say yet.
func presence(d *agentv1.Domain) migration.Presence {
	switch d.GetState() {
	case agentv1.DomainState_DOMAIN_STATE_NONE, agentv1.DomainState_DOMAIN_STATE_SHUTOFF:
		if d.GetStartInProgress() {
			return migration.Unknown
		}
		return migration.None
	case agentv1.DomainState_DOMAIN_STATE_PAUSED:
		return migration.Paused
	case agentv1.DomainState_DOMAIN_STATE_POSTCOPY:
		return migration.PostCopy
	case agentv1.DomainState_DOMAIN_STATE_UNSPECIFIED:
		return migration.Unknown
	}
	return migration.Alive
}
