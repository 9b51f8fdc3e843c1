package leak

import (
	"fmt"
	"time"
)

// Part says what a row is for.
type Part uint8

// The parts of a split.
const (
	Unused     Part = iota
	Training        // learnt from
	Validation      // judged on
)

// Row is one sample: a thing at a time, and what came of it.
type Row struct {
	Thing    string    // what fails: a drive's or DIMM's serial number
	Group    string    // what shares its fate, such as its server; "": nothing does
	At       time.Time // the landmark
	Observed time.Time // the newest reading its features rest on; zero: not known
	Part     Part
	Label    bool
	Weight   float64
	Line     int // of the file it came from; 0: none
}

func (r *Row) unit() string {
	if r.Group != "" {
		return "group " + r.Group
	}
	return "thing " + r.Thing
}

// Column is a feature: one value per row, NaN where it is missing.
type Column struct {
	Name   string
	Values []float64
	Words  int // how many different texts the values stand for; 0: they are numbers
}

// Table is the plan of a training.
type Table struct {
	Rows    []Row
	Columns []Column
	Horizon time.Duration // how far ahead a label looks: the least embargo between training and validation
}

// Rule names what a table may break. The names are those of --accept.
type Rule string

// The rules.
const (
	TimeOrder Rule = "time-order"      // validation is not later than training
	BothSides Rule = "both-sides"      // a thing is learnt from and judged on
	Embargo   Rule = "embargo"         // a training label looks into the validation's time
	Identity  Rule = "identity"        // a feature is a serial number, a date or the rows' order
	Future    Rule = "future"          // a feature was computed after its landmark
	Shuffled  Rule = "shuffled-labels" // labels without meaning are predicted
	ProbeTime Rule = "probe-time"      // time stamps alone predict the label
	ProbeRow  Rule = "probe-row"       // the rows' order alone predicts the label
)

// Rules are all rules, with what breaks each.
var Rules = []struct {
	Rule     Rule
	Breaks   string
	MayCarry bool // it can be accepted, with a reason that the model carries
}{
	{TimeOrder, "validation is earlier than training", false},
	{BothSides, "a drive is on both sides of the split", false},
	{Embargo, "there is no embargo of the horizon's length between training and validation", false},
	{Identity, "a feature is a serial number, a date or the order of rows", false},
	{Future, "a feature is computed after its landmark", false},
	{Shuffled, "shuffled labels give a validation AUC outside 0.5 ± 0.03", false},
	{ProbeTime, "time stamps alone reach an AUC of 0.60", true},
	{ProbeRow, "the order of rows alone reaches an AUC of 0.60", true},
}

// Finding is one rule that a table breaks.
type Finding struct {
	Rule Rule
	Text string // what breaks it, with where and by how much
}

func (f Finding) String() string { return fmt.Sprintf("rule %s: %s", f.Rule, f.Text) }

func found(rule Rule, format string, args ...any) Finding {
	return Finding{rule, fmt.Sprintf(format, args...)}
}

const day = time.DateOnly

func (r *Row) where() string {
	if r.Line > 0 {
		return fmt.Sprintf("line %d (%s)", r.Line, r.Thing)
	}
	return r.Thing
}
