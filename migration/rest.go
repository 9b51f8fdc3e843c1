package migration

// Kind is the part of a row that decides which line of the table applies.
type Kind struct {
	Guarded     bool // nobody runs on the target until the source's process has exited
	OwnerPaused bool // the owner had paused the guest before the move
	Choice      Choice
}

// Rest is the table of resting states (DESIGN.md): for what source a and target b
// show, the line that applies and its next step. Line 0 means that the move is
// not at rest: a job is active, a call is out, or a side is silent whose word is
// needed. No line is decided by time, and none by what a call returned.
func Rest(k Kind, a, b Copy) Action {
	switch {
	case a.Presence == PostCopy || b.Presence == PostCopy:
		return Action{Do: Wait, State: Switching, Line: 10, Why: "post-copy: neither side is whole until both jobs have ended"}
	case a.Presence == Unknown:
		return Action{Do: Wait, State: Verifying, Alarm: true, Why: "the source is silent"}
	case a.Presence == None:
		return restGone(k, a, b)
	case a.Call != CallEnded || a.Job || b.Job:
		return Action{Do: Wait, State: Running, Why: "libvirt is at work"}
	case a.Presence == Paused && a.Pause == ByMove:
		return restStopped(k, a, b)
	default:
		return restAlive(k, a, b)
	}
}

// restGone has the lines in which the source's process is gone: 1, 2, 7, 8 and 9.
func restGone(k Kind, a, b Copy) Action {
	switch {
	case b.Presence == Unknown:
		return Action{Do: Wait, State: Verifying, Alarm: true, Why: "gone on the source, and the target is silent"}
	case b.Job:
		return Action{Do: Wait, State: Switching, Why: "gone on the source, the target's job is not over"}
	case b.Presence == Alive:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 2, Why: "gone on the source, running on the target"}
	case b.Presence == Paused && b.Pause == ByOwner:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 2, Why: "gone on the source, on the target paused by its owner"}
	case b.GuardedCopy() && a.Gone == GoneByMove && k.OwnerPaused:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 2, Why: "gone on the source, on the target paused as its owner left it"}
	case b.GuardedCopy() && a.Gone == GoneByMove:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 1, Why: "gone on the source by the move, complete on the target"}
	case b.GuardedCopy() && a.Gone == GoneOtherwise && !k.OwnerPaused:
		return voidBoth(a, 7, "it ran again on the source and ended there: the target's copy is old memory on newer disks")
	case b.forgottenCopy() && a.Gone == GoneByMove:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 1,
			Why: "gone on the source by the move, complete on the target, whose agent has lost its journal"}
	case (b.GuardedCopy() || b.forgottenCopy()) && k.Choice == ChoseResume:
		return Action{Do: Commit, End: HeldByTarget, State: Committing, Line: 8, Why: "a person chose to resume the target's paused copy"}
	case (b.GuardedCopy() || b.forgottenCopy()) && k.Choice == ChoseDiscard:
		return voidBoth(a, 8, "a person chose to discard the target's paused copy")
	case b.forgottenCopy() && a.Gone == GoneOtherwise:
		return Action{Do: Wait, End: Person, State: Unclear, Line: 8, Alarm: true,
			Why: "it ended on the source by itself; nobody knows whether the target's paused copy has run since: a person chooses"}
	case b.GuardedCopy() && a.Gone == GoneOtherwise:
		return Action{Do: Wait, End: Person, State: Unclear, Line: 8, Alarm: true,
			Why: "its owner had paused it, and it ended on the source; unless it ran again before, the target's paused copy is as good: a person chooses"}
	case b.GuardedCopy(), b.forgottenCopy():
		return Action{Do: Wait, End: Person, State: Unclear, Line: 8, Alarm: true,
			Why: "gone on the source, nobody knows how; a complete paused copy is on the target: a person chooses"}
	case b.Presence == Paused:
		return Action{Do: Wait, State: Verifying, Alarm: true,
			Why: "gone on the source, the target's copy is not complete; if libvirt there does not end it, virsh destroy does, and the guest can be started anew"}
	case a.Call != CallEnded:
		return Action{Do: Wait, State: Verifying, Why: "gone on both sides, the source's call is still out"}
	case !b.Fresh:
		return Action{Do: Ask, To: Target, State: Verifying, Why: "gone on the source; does the target have it?"}
	case !b.Void:
		return Action{Do: Tell, Order: Void, To: Target, State: Verifying, Line: 9, Why: "on neither side: the attempt is over"}
	default:
		return Action{Do: Commit, End: Released, State: Failed, Line: 9, Why: "on neither side: the guest has ended"}
	}
}

// restStopped has the lines in which the move has stopped the source's process and
// the call has ended: 5 and 6.
func restStopped(k Kind, a, b Copy) Action {
	switch {
	case b.Presence == Alive:
		return Action{Do: Tell, Order: DestroyOwn, To: Source, State: Verifying, Line: 6, Why: "stopped on the source, running on the target"}
	case b.Presence == Paused && b.Pause != ByGuard:
		return Action{Do: Wait, End: Person, State: Unclear, Line: 6, Alarm: true,
			Why: "stopped on the source, and the target's copy has run and was paused by somebody"}
	case b.Presence == Unknown && !k.Guarded:
		return Action{Do: Wait, State: Verifying, Alarm: true, Why: "stopped on the source, and the target, which may have resumed it, is silent"}
	case b.Presence == None && !b.Fresh:
		return Action{Do: Ask, To: Target, State: Verifying, Why: "stopped on the source; does the target have it?"}
	case !a.Void:
		return Action{Do: Tell, Order: Void, To: Source, State: Aborting, Line: 5, Why: "stopped on the source by a move that has failed"}
	default:
		return Action{Do: Tell, Order: ResumeOwn, To: Source, State: Aborting, Line: 5, Why: "the attempt is void: the source runs on"}
	}
}

// restAlive has the lines in which the source has its guest and the call has ended:
// 3, 4 and 11.
func restAlive(k Kind, a, b Copy) Action {
	switch {
	case b.Presence == Alive:
		return Action{Do: Commit, End: Ambiguous, State: Unclear, Line: 11, Alarm: true, Why: "running on both sides"}
	case b.Presence == Paused && b.Pause != ByGuard:
		return Action{Do: Wait, End: Person, State: Unclear, Line: 11, Alarm: true,
			Why: "the source runs on, and the target's copy has run and was paused by somebody"}
	case b.Presence == Paused:
		return voidBoth(a, 4, "the source runs on, the target keeps a paused copy")
	case b.Presence == Unknown && !k.Guarded:
		return Action{Do: Wait, State: Aborting, Alarm: true, Why: "the source runs on, and the target, which may run too, is silent"}
	case !a.Void:
		return Action{Do: Tell, Order: Void, To: Source, State: Aborting, Line: 3, Why: "the source runs on: the attempt is over"}
	case b.Presence == Unknown:
		// Nobody may wake a guarded copy any more, so the source's word is enough.
		return Action{Do: Commit, End: HeldBySource, State: RolledBack, Line: 3, Owed: !b.Void,
			Why: "the source runs on; the silent target's copy can't be woken any more"}
	case !b.Void:
		return Action{Do: Tell, Order: Void, To: Target, State: Aborting, Line: 3, Why: "the source runs on: the attempt is over on the target too"}
	case !b.Fresh:
		return Action{Do: Ask, To: Target, State: Aborting, Why: "the source runs on; is the target rid of it?"}
	default:
		return Action{Do: Commit, End: HeldBySource, State: RolledBack, Line: 3, Why: "the source runs on, nothing is on the target"}
	}
}

// voidBoth ends an attempt whose target keeps a paused copy: at the source
// first, so that it can't resume the copy; the target's agent then destroys it.
func voidBoth(a Copy, line int, why string) Action {
	to := Source
	if a.Void {
		to = Target
	}
	return Action{Do: Tell, Order: Void, To: to, State: Aborting, Line: line, Why: why}
}
