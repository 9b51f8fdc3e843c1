package migration

import (
	"strings"
	"testing"
)

// TestChoice: a person's choice counts on line 8 and nowhere else.
func TestChoice(t *testing.T) {
	row := func(choices ...Choice) Row {
		r := Row{State: Unclear, Switchover: Guarded}
		for _, c := range choices {
			r.Steps = append(r.Steps, Step{Name: "seen"}, Step{Name: string(c)})
		}
		return r
	}
	gone := Copy{Presence: None, Gone: GoneUnexplained, Call: CallEnded, Fresh: true}
	void := gone
	void.Void = true
	copied := Copy{Presence: Paused, Pause: ByGuard, Complete: true, Prepared: true}
	running := Copy{Presence: Alive, Call: CallEnded}
	for name, c := range map[string]struct {
		row  Row
		a, b Copy
		want Action
	}{
		"nobody has chosen":                {row(), gone, copied, Action{Do: Wait, End: Person, Line: 8}},
		"resume":                           {row(ChoseResume), gone, copied, Action{Do: Commit, End: HeldByTarget, Line: 8}},
		"discard: first the source":        {row(ChoseDiscard), gone, copied, Action{Do: Tell, Order: Void, To: Source, Line: 8}},
		"discard: then the target":         {row(ChoseDiscard), void, copied, Action{Do: Tell, Order: Void, To: Target, Line: 8}},
		"the last word counts":             {row(ChoseDiscard, ChoseResume), gone, copied, Action{Do: Commit, End: HeldByTarget, Line: 8}},
		"the source runs after all":        {row(ChoseResume), running, copied, Action{Do: Tell, Order: Void, To: Source, Line: 4}},
		"it went by the move after all":    {row(ChoseDiscard), Copy{Presence: None, Gone: GoneByMove, Call: CallEnded}, copied, Action{Do: Commit, End: HeldByTarget, Line: 1}},
		"the copy is not complete":         {row(ChoseResume), gone, Copy{Presence: Paused, Pause: ByGuard}, Action{Do: Wait}},
		"the target is silent":             {row(ChoseResume), gone, Copy{}, Action{Do: Wait}},
		"the copy has run and was stopped": {row(ChoseDiscard), gone, Copy{Presence: Paused, Pause: ByOwner}, Action{Do: Commit, End: HeldByTarget, Line: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Next(c.row, c.a, c.b)
			if got.Do != c.want.Do || got.End != c.want.End || got.Line != c.want.Line || got.Order != c.want.Order || got.To != c.want.To {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestIncompleteCopy: the way out that is named leads out.
func TestIncompleteCopy(t *testing.T) {
	row := Row{State: Verifying, Switchover: Guarded}
	gone := Copy{Presence: None, Gone: GoneUnexplained, Call: CallEnded, Fresh: true}
	act := Next(row, gone, Copy{Presence: Paused, Pause: ByGuard})
	if act.Do != Wait || !act.Alarm || !strings.Contains(act.Why, "virsh destroy does") {
		t.Fatalf("with it: %+v", act)
	}
	if act = Next(row, gone, Copy{Presence: None, Fresh: true}); act.Do != Tell || act.Order != Void || act.To != Target {
		t.Fatalf("once it is destroyed: %+v", act)
	}
	if act = Next(row, gone, Copy{Presence: None, Fresh: true, Void: true}); act.Do != Commit || act.End != Released || act.State != Failed {
		t.Fatalf("at last: %+v", act)
	}
}
