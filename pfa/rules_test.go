package pfa

import "testing"

func TestRules(t *testing.T) {
	at := func(column string, value uint32) Segment {
		for i, c := range historyCols {
			if c.column == column {
				s := Segment{Has: 1 << i}
				s.Values[i] = value
				return s
			}
		}
		t.Fatalf("no column %s", column)
		return Segment{}
	}
	for _, c := range []struct {
		column           string
		value            uint32
		smartd, scrutiny bool
	}{
		{"s197", 0, false, false}, {"s197", 1, true, false}, {"s197", 2, true, true}, {"s197", 1601, true, false},
		{"s198", 1, true, true}, {"s198", 17, true, false},
		{"s5", 16, false, false}, {"s5", 17, false, true},
		{"s187", 1, false, true}, {"s187", 121, false, false},
		{"s188", 100, false, false}, {"s188", 101, false, true},
		{"s196", 18, false, false}, {"s196", 45, false, true}, {"s10", 1, false, true}, {"s12", 1000, false, false},
	} {
		d := &Drive{Serial: "A", Model: "ST4000DM000", Segments: []Segment{at(c.column, c.value)}}
		if got := newReplay(d).to(10).ruled(); got != [rules]bool{c.smartd, c.scrutiny} {
			t.Errorf("%s at %d: smartd, scrutiny: %v", c.column, c.value, got)
		}
	}
}

// The rule flags two that fail and one that does not; the model's highest scores
// up to its second false alarm hold three that fail.
func TestRuleBesideModel(t *testing.T) {
	var grid []prediction
	var s []scored
	for _, x := range []struct{ fails, rule bool }{{true, true}, {true, false}, {false, false}, {true, true}, {false, true}, {true, false}} {
		p := prediction{landmark: landmark{lead: -1}}
		p.rules[ruleScrutiny] = x.rule
		grid, s = append(grid, p), append(s, scored{1, 1, x.fails})
	}
	want := Rule{Recall: 0.5, Precision: 2.0 / 3, FalseAlarms: 0.5, ModelRecall: 0.75, ModelPrecision: 0.75}
	if got := ruleBeside(ruleScrutiny, grid, s); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := ruleBeside(ruleSmartd, grid, s); got.Precision != 0 || got.ModelRecall != 0.5 {
		t.Errorf("a rule that flags nothing: %+v", got)
	}
}
