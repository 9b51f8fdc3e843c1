package migration

import "testing"

// copies lists every picture that one side can show.
func copies(side Side) []Copy {
	var all []Copy
	bools := []bool{false, true}
	for _, presence := range []Presence{Unknown, None, Alive, Paused, PostCopy} {
		for _, pause := range []Pause{"", ByGuard, ByMove, ByOwner} {
			if presence != Paused && pause != "" || presence == Paused && pause == "" && side == Source || side == Source && pause == ByGuard || side == Target && pause == ByMove {
				continue
			}
			for _, job := range bools {
				for _, void := range bools {
					base := Copy{Presence: presence, Pause: pause, Job: job, Void: void}
					if side == Source {
						all = append(all, sources(base)...)
					} else {
						all = append(all, targets(base)...)
					}
				}
			}
		}
	}
	return all
}

func sources(base Copy) []Copy {
	var all []Copy
	gone := []Gone{""}
	if base.Presence == None {
		gone = []Gone{GoneByMove, GoneOtherwise, GoneUnexplained}
	}
	for _, g := range gone {
		for _, call := range []Call{NotCalled, CallOut, CallEnded} {
			if base.Void && call == NotCalled {
				continue // void is a call that has ended
			}
			c := base
			c.Gone, c.Call = g, call
			all = append(all, c)
		}
	}
	return all
}

func targets(base Copy) []Copy {
	var all []Copy
	for bits := range 8 {
		c := base
		c.Complete, c.Fresh, c.Prepared = bits&1 != 0, bits&2 != 0, bits&4 != 0
		all = append(all, c)
	}
	return all
}

// TestRestHarmsNothing walks through everything that two hosts can show and
// holds every answer against the rules that keep a guest single and alive.
func TestRestHarmsNothing(t *testing.T) {
	seen := map[int]int{}
	for _, a := range copies(Source) {
		for _, b := range copies(Target) {
			for _, k := range []Kind{{}, {Guarded: true}, {Guarded: true, OwnerPaused: true}} {
				act := Rest(k, a, b)
				seen[act.Line]++
				if wrong := harm(k, a, b, act); wrong != "" {
					t.Fatalf("%s\nkind %+v\nsource %+v\ntarget %+v\naction %+v", wrong, k, a, b, act)
				}
			}
		}
	}
	for line := range 12 {
		if seen[line] == 0 {
			t.Errorf("line %d of the table is never reached", line)
		}
	}
}

// harm names the rule that an action breaks, "" for none.
func harm(k Kind, a, b Copy, act Action) string {
	silent := a.Presence == Unknown || b.Presence == Unknown
	voidsTarget := act.Do == Tell && act.Order == Void && act.To == Target
	switch {
	case act.Why == "" || act.State == "":
		return "an action without a reason or a state"
	case act.Do == Tell && act.Order == Resume:
		return "resumed before the claim was committed"
	case act.End == HeldByTarget && act.Do == Commit && a.Presence != None:
		return "the claim goes to the target while the source has a process"
	case act.End == HeldByTarget && act.Do == Commit && (b.GuardedCopy() || b.forgottenCopy()) && a.Gone != GoneByMove:
		return "an old copy is woken"
	case act.End == HeldBySource && a.Presence != Alive && a.Pause != ByOwner:
		return "the claim goes back to a source that does not run it"
	case act.End == HeldBySource && !a.Void:
		return "the claim goes back before the source has voided the attempt"
	case act.End == HeldBySource && b.Presence != None && (b.Presence != Unknown || !k.Guarded):
		return "the claim goes back although the target may run it"
	case act.End == Released && (a.Presence != None || b.Presence != None || !b.Fresh || a.Call != CallEnded):
		return "released although a copy may be somewhere"
	case act.Do == Commit && silent && act.End != HeldBySource:
		return "decided without the word of a side"
	case act.Order == ResumeOwn && (!a.Void || b.Presence == Alive || a.Presence != Paused):
		return "the source is resumed although the target may run"
	case act.Order == ResumeOwn && b.Presence == Paused && b.Pause != ByGuard:
		return "the source is resumed although the target's copy may have run"
	case voidsTarget && b.forgottenCopy():
		return "a copy that may have run is destroyed"
	case act.Order == DestroyOwn && (b.Presence != Alive || a.Presence != Paused):
		return "a copy is destroyed that may be the last good one"
	case voidsTarget && b.Presence == Paused && !a.Void:
		return "the target's copy is destroyed while the source may still wake it"
	case voidsTarget && b.Presence == Paused && a.Presence == None && (a.Gone != GoneOtherwise || k.OwnerPaused):
		return "the last good copy is destroyed"
	case voidsTarget && b.Presence == Alive:
		return "a running copy is voided"
	case (a.Job || b.Job) && a.Presence != None && act.Do != Wait:
		return "acts while a job is active"
	case (a.Presence == PostCopy || b.Presence == PostCopy) && act.Do != Wait:
		return "touches post-copy"
	}
	return ""
}

// TestRestLines has the words of each line of the table, once plainly.
func TestRestLines(t *testing.T) {
	ended := func(c Copy) Copy { c.Call = CallEnded; return c }
	guardedCopy := Copy{Presence: Paused, Pause: ByGuard, Complete: true, Prepared: true}
	none := Copy{Presence: None, Fresh: true}
	voided := func(c Copy) Copy { c.Void, c.Call = true, CallEnded; return c }
	alive := Copy{Presence: Alive}
	stopped := ended(Copy{Presence: Paused, Pause: ByMove})
	guarded := Kind{Guarded: true}
	cases := []struct {
		name string
		kind Kind
		a, b Copy
		want Action
	}{
		{"1 gone by the move, complete", guarded, Copy{Presence: None, Gone: GoneByMove, Call: CallOut}, guardedCopy,
			Action{Do: Commit, End: HeldByTarget, Line: 1}},
		{"1 the target has lost its journal", guarded, Copy{Presence: None, Gone: GoneByMove, Call: CallEnded}, Copy{Presence: Paused, Complete: true},
			Action{Do: Commit, End: HeldByTarget, Line: 1}},
		{"2 gone, running", Kind{}, Copy{Presence: None, Gone: GoneUnexplained}, alive, Action{Do: Commit, End: HeldByTarget, Line: 2}},
		{"2 gone, paused as before", Kind{Guarded: true, OwnerPaused: true}, Copy{Presence: None, Gone: GoneByMove}, guardedCopy,
			Action{Do: Commit, End: HeldByTarget, Line: 2}},
		{"3 void at the source first", guarded, ended(alive), none, Action{Do: Tell, Order: Void, To: Source, Line: 3}},
		{"3 then at the target", guarded, voided(alive), none, Action{Do: Tell, Order: Void, To: Target, Line: 3}},
		{"3 a stale none is none", guarded, voided(alive), Copy{Presence: None, Void: true}, Action{Do: Ask, To: Target}},
		{"3 back", guarded, voided(alive), voided(none), Action{Do: Commit, End: HeldBySource, Line: 3}},
		{"3 silent and guarded", guarded, voided(alive), Copy{}, Action{Do: Commit, End: HeldBySource, Line: 3, Owed: true}},
		{"3 silent and direct", Kind{}, voided(alive), Copy{}, Action{Do: Wait}},
		{"3 only once the call has ended", guarded, Copy{Presence: Alive, Call: CallOut}, none, Action{Do: Wait}},
		{"4 void at the source first", guarded, ended(alive), guardedCopy, Action{Do: Tell, Order: Void, To: Source, Line: 4}},
		{"4 then at the target", guarded, voided(alive), guardedCopy, Action{Do: Tell, Order: Void, To: Target, Line: 4}},
		{"5 void first", guarded, stopped, none, Action{Do: Tell, Order: Void, To: Source, Line: 5}},
		{"5 void first, complete", guarded, stopped, guardedCopy, Action{Do: Tell, Order: Void, To: Source, Line: 5}},
		{"5 then run on", guarded, voided(stopped), guardedCopy, Action{Do: Tell, Order: ResumeOwn, To: Source, Line: 5}},
		{"5 silent and guarded", guarded, voided(stopped), Copy{}, Action{Do: Tell, Order: ResumeOwn, To: Source, Line: 5}},
		{"5 silent and direct", Kind{}, stopped, Copy{}, Action{Do: Wait}},
		{"5 not beside a copy that has run", guarded, voided(stopped), Copy{Presence: Paused, Pause: ByOwner, Complete: true, Prepared: true},
			Action{Do: Wait, End: Person, Line: 6}},
		{"6 destroy own", Kind{}, stopped, alive, Action{Do: Tell, Order: DestroyOwn, To: Source, Line: 6}},
		{"7 void first", guarded, Copy{Presence: None, Gone: GoneOtherwise, Call: CallEnded}, guardedCopy,
			Action{Do: Tell, Order: Void, To: Source, Line: 7}},
		{"7 then the old copy goes", guarded, voided(Copy{Presence: None, Gone: GoneOtherwise}), guardedCopy,
			Action{Do: Tell, Order: Void, To: Target, Line: 7}},
		{"8 it was paused by its owner and need not have run again", Kind{Guarded: true, OwnerPaused: true}, Copy{Presence: None, Gone: GoneOtherwise, Call: CallEnded}, guardedCopy,
			Action{Do: Wait, End: Person, Line: 8}},
		{"8 and a person discards it", Kind{Guarded: true, OwnerPaused: true, Choice: ChoseDiscard}, voided(Copy{Presence: None, Gone: GoneOtherwise}), guardedCopy,
			Action{Do: Tell, Order: Void, To: Target, Line: 8}},
		{"8 or keeps it", Kind{Guarded: true, OwnerPaused: true, Choice: ChoseResume}, voided(Copy{Presence: None, Gone: GoneOtherwise}), guardedCopy,
			Action{Do: Commit, End: HeldByTarget, Line: 8}},
		{"8 a person", guarded, Copy{Presence: None, Gone: GoneUnexplained, Call: CallEnded}, guardedCopy, Action{Do: Wait, End: Person, Line: 8}},
		{"8 the target has lost its journal", guarded, Copy{Presence: None, Gone: GoneOtherwise, Call: CallEnded}, Copy{Presence: Paused, Complete: true},
			Action{Do: Wait, End: Person, Line: 8}},
		{"6 the copy may have run", guarded, stopped, Copy{Presence: Paused, Pause: ByOwner}, Action{Do: Wait, End: Person, Line: 6}},
		{"9 void", guarded, ended(Copy{Presence: None, Gone: GoneOtherwise}), none, Action{Do: Tell, Order: Void, To: Target, Line: 9}},
		{"9 ended", guarded, ended(Copy{Presence: None, Gone: GoneOtherwise}), voided(none), Action{Do: Commit, End: Released, Line: 9}},
		{"10 post-copy", Kind{}, Copy{Presence: PostCopy}, Copy{Presence: PostCopy}, Action{Do: Wait, Line: 10}},
		{"11 both", guarded, ended(alive), alive, Action{Do: Commit, End: Ambiguous, Line: 11}},
		{"a silent source decides nothing", guarded, Copy{}, guardedCopy, Action{Do: Wait}},
		{"a silent target after gone", guarded, Copy{Presence: None, Gone: GoneByMove}, Copy{}, Action{Do: Wait}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Rest(c.kind, c.a, c.b)
			if got.Do != c.want.Do || got.Order != c.want.Order || got.To != c.want.To || got.End != c.want.End || got.Line != c.want.Line || got.Owed != c.want.Owed {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}
