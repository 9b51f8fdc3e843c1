package migration

// Next is the one step that is right for this row now, given what both sides
// last showed. It is called again after every change; calling it twice without
// a change names the same step twice.
func Next(r Row, a, b Copy) Action {
	kind := Kind{Guarded: r.Switchover != Direct, OwnerPaused: r.Before.Paused, Choice: r.Choice()}
	switch {
	case r.State.Ended():
		return Action{Do: Wait, State: r.State, Why: r.Outcome}
	case r.State == Planned && r.AbortReason != "":
		return Action{Do: Finish, State: RolledBack, Why: r.AbortReason}
	case r.State == Planned:
		return Action{Do: Wait, State: Planned, Why: "waits for a slot"}
	case r.State == Committing:
		return settle(kind, a, b)
	case notBegun(a):
		return begin(r, a, b)
	case a.Call == CallOut && r.AbortReason != "" && a.Presence == Alive:
		return Action{Do: Tell, Order: Abort, To: Source, State: Aborting, Why: r.AbortReason}
	}
	act := Rest(kind, a, b)
	if act.Do == Wait && act.Line == 0 && a.Presence == Unknown {
		act.State = r.State // silence moves nothing
	}
	if act.Do == Wait && act.Line == 0 && act.State == Running && a.Presence == Paused {
		act.State, act.Why = Switching, "stopped on the source, on its way to the target"
	}
	return act
}

// notBegun says whether the source's call is still to come. A source that has
// been rebooted since the row was claimed knows nothing of a call either:
// whoever builds the Copy compares Row.SourceBoot and says CallEnded.
func notBegun(a Copy) bool {
	return a.Call == NotCalled && !a.Void && a.Presence != Unknown
}

// begin brings an attempt from the written claim to the source's call. A move
// that can't begin is voided at the source: from then on it is line 3 or 9.
func begin(r Row, a, b Copy) Action {
	giveUp := func(why string) Action {
		return Action{Do: Tell, Order: Void, To: Source, State: Aborting, Why: why}
	}
	switch {
	case r.AbortReason != "":
		return giveUp(r.AbortReason)
	case b.Void:
		return giveUp("the target has given the attempt up")
	case a.Presence == None:
		return giveUp("the guest ended before the move began")
	case b.Presence == Alive || b.Presence == Paused && !b.Prepared:
		return giveUp("the target has a copy of this guest already")
	case !b.Prepared:
		return Action{Do: Tell, Order: Prepare, To: Target, State: Preparing, Why: "the target checks and reserves"}
	default:
		return Action{Do: Tell, Order: Move, To: Source, State: Preparing, Why: "the target is ready"}
	}
}

// settle follows a committed arrival: the guest runs, its definition and
// autostart are where the claim is, and nothing of it is left behind.
func settle(k Kind, a, b Copy) Action {
	arrived := b.Presence == Alive || b.Presence == Paused && (k.OwnerPaused || b.Pause == ByOwner)
	switch {
	case a.Presence == Alive:
		return Action{Do: Commit, End: Ambiguous, State: Unclear, Line: 11, Alarm: true,
			Why: "somebody started it on the source, which no longer holds the claim"}
	case b.Presence == Unknown:
		return Action{Do: Wait, State: Committing, Alarm: true, Why: "the target holds the claim and is silent"}
	case b.Presence == Paused && !arrived:
		return Action{Do: Tell, Order: Resume, To: Target, State: Committing, Why: "the target may run it"}
	case b.Presence == None && !b.Fresh:
		return Action{Do: Ask, To: Target, State: Committing, Why: "does it still run on the target?"}
	case !b.Settled:
		return Action{Do: Tell, Order: Settle, To: Target, State: Committing, Why: "definition and autostart on the target"}
	case a.Presence == Unknown:
		return Action{Do: Wait, State: Committing, Why: "runs on the target; the source, which may keep a definition, is silent"}
	case !a.Settled && a.Call == CallOut:
		return Action{Do: Wait, State: Committing, Why: "runs on the target; the source's call, which takes the definition away, is still out"}
	case !a.Settled:
		return Action{Do: Tell, Order: Settle, To: Source, State: Committing, Why: "the definition goes from the source"}
	case b.Presence == None: // only now: it will be started again, here and nowhere else
		return Action{Do: Finish, State: Failed, Why: "the guest ended on the target before it was seen running"}
	case b.Presence == Alive && !b.Moving:
		return Action{Do: Wait, State: Committing, Why: "runs on the target; its CPU time has not been seen to grow yet"}
	default:
		return Action{Do: Finish, State: Done, Why: "runs on the target, definition and autostart with it"}
	}
}
