package pfa

import (
	"fmt"
	"maps"
	"math"
)

// Recalibrated returns the model with its logit shifted, by drive family and,
// for "", for all: what an operator's own fleet has shown of its rate. Shifts add
// to those that the model has; note says what they rest on. A public model
// becomes grade B by it.
func (m *Model) Recalibrated(shift map[string]float64, note string) (*Model, error) {
	out := &Model{header: m.header, ata: m.ata}
	fleet := maps.Clone(m.header.Fleet)
	if fleet == nil {
		fleet = map[string]float64{}
	}
	for family, x := range shift {
		if fleet[family] += x; !(math.Abs(fleet[family]) <= maxShift) {
			return nil, fmt.Errorf("family %q would be shifted by %.1f logits, more than %d: this model does not fit this fleet", family, fleet[family], maxShift)
		}
	}
	out.header.Fleet, out.header.Provenance.Recalibrated = fleet, note
	if out.header.Grade == GradePublic {
		out.header.Grade = GradeRecalibrated
	}
	file, err := out.Bytes()
	if err != nil {
		return nil, err
	}
	return Load(file)
}
