package pfa

import "testing"

// Vendors add up to all, and small families are told together.
func TestSlices(t *testing.T) {
	var drives []Drive
	var grid []prediction
	for i := range 60 {
		model := [...]string{"ST4000DM000", "WDC WD30EFRX", "ST3000DM001"}[i%3]
		drives = append(drives, Drive{Serial: string(rune('a' + i)), Model: model})
		for k := range 4 {
			l := landmark{drive: i, hour: Axis(k * 336), lead: -1}
			if i%3 == 0 && i%2 == 0 && k == 3 { // ten of the first family fail, and score higher
				l.lead = 100
			}
			p := prediction{landmark: l}
			p.score.month = 0.01 + 0.1*indicator(l.within(hours30d))
			p.rules[ruleSmartd] = i == 1
			grid = append(grid, p)
		}
	}
	var m Metrics
	m.slices(grid, drives, sliceFailures)
	by := map[string]Slice{}
	for _, s := range m.Slices {
		by[s.Of] = s
	}
	if len(by) != 4 || m.Slices[0].Of != "vendor ST" {
		t.Fatalf("%+v", m.Slices)
	}
	if s := by["family ST4000DM000"]; s.Drives != 20 || s.Failures != 10 || s.Positives != 10 || s.AUC != 1 || s.AP != 1 || s.Base != 0.125 {
		t.Errorf("%+v", s)
	}
	if s := by["other families"]; s.Drives != 40 || s.Failures != 0 || s.Rule.FalseAlarms != 4.0/160 {
		t.Errorf("%+v", s)
	}
	if n := by["vendor ST"].Landmarks + by["vendor WDC"].Landmarks; n != len(grid) {
		t.Errorf("vendors have %d of %d landmarks", n, len(grid))
	}
}
