package migration

// Choice is what a person has chosen where nobody else may: line 8 of the table,
// a complete paused copy whose source is gone, nobody knows how. It is a step of
// the row, so that it outlives whoever took it. Values are stored and shown.
type Choice string

const (
	NoChoice     Choice = ""
	ChoseResume  Choice = "resume chosen"  // the copy is the guest
	ChoseDiscard Choice = "discard chosen" // the copy is old memory on newer disks
)

// Choice returns what a person has chosen last, NoChoice if nobody has. Rest heeds
// it on line 8 only: what the hosts' reports decide stays decided.
func (r Row) Choice() Choice {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		switch c := Choice(r.Steps[i].Name); c {
		case ChoseResume, ChoseDiscard:
			return c
		}
	}
	return NoChoice
}
