package migration

import "fmt"

// Do is the kind of an Action.
type Do string

const (
	Wait   Do = "wait"   // nothing to do but look again
	Ask    Do = "ask"    // ask Action.To for a report made from now on
	Tell   Do = "tell"   // give Action.Order to Action.To
	Commit Do = "commit" // write the claim's end, Action.End
	Finish Do = "finish" // the row ends; the claim was committed before
)

// Order is what an agent can be told about an attempt. Every order may be
// repeated: an agent that has already obeyed answers as it did.
type Order string

const (
	Prepare    Order = "prepare"     // target: check, reserve, journal the attempt
	Move       Order = "move"        // source: journal, then call libvirt
	Abort      Order = "abort"       // source: end the job if it can still be ended
	Resume     Order = "resume"      // target: let the complete copy run
	Void       Order = "void"        // either: the attempt is over here for ever; a target destroys its paused copy
	ResumeOwn  Order = "resume own"  // source: run on, after Void
	DestroyOwn Order = "destroy own" // source: remove the stopped copy of a guest that runs on the target
	Settle     Order = "settle"      // either: definition and autostart follow the claim
)

// End is how a transfer ends: what becomes of the claim.
type End string

const (
	HeldByTarget End = "held by target"
	HeldBySource End = "held by source"
	Released     End = "released"  // the guest has ended
	Ambiguous    End = "ambiguous" // it may run twice
	Person       End = "person"    // nobody but a person can choose; not a commit, the claim stays transferring
)

// Action is the one step that a move needs now, and why.
type Action struct {
	Do    Do
	Order Order // with Tell
	To    Side  // with Tell and Ask
	End   End   // with Commit, and Person with Wait
	State State // where the move stands, given what is seen
	Line  int   // of the table of resting states; 0 when the move is not at rest
	Why   string
	Alarm bool // an operator should know that this waits
	// Owed: a Void that the target has not confirmed and must get whenever it
	// answers, with Commit.
	Owed bool
}

// Reason is why, with the line of the table that says so, if one does.
func (a Action) Reason() string {
	if a.Line == 0 {
		return a.Why
	}
	return fmt.Sprintf("%s (line %d)", a.Why, a.Line)
}
