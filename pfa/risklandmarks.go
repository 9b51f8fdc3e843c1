package pfa

import (
	"cmp"
	"fmt"
	"slices"
)

// RiskLandmarks is what ScoreLandmarks says of landmarks, in their order, as
// numbers and without what explains them. The drives' fates are not looked at.
func (m *Model) RiskLandmarks(drives []Drive, marks []Landmark) ([]Risk, error) {
	bySerial := make(map[string]int, len(drives))
	for i := range drives {
		bySerial[drives[i].Serial] = i
	}
	of := make([][]int, len(drives))
	for i, l := range marks {
		d, ok := bySerial[l.Serial]
		if !ok {
			return nil, fmt.Errorf("landmark %d: drive %s is not in the table of drives", i+1, l.Serial)
		}
		of[d] = append(of[d], i)
	}
	out := make([]Risk, len(marks))
	inChunks(len(drives), func(_, from, to int) {
		in := newInputs()
		for id := from; id < to; id++ {
			slices.SortStableFunc(of[id], func(a, b int) int { return cmp.Compare(marks[a].Hour, marks[b].Hour) })
			re := newReplay(&drives[id])
			for _, i := range of[id] {
				s := re.to(marks[i].Hour)
				if re.next == 0 { // nothing is known but the hour
					s = newReplay(&drives[id]).state
					s.observe(marks[i].Hour, hoursIndex, float64(marks[i].Hour), 0)
				}
				m.ata.extract(s, marks[i].Hour, in)
				out[i] = m.ata.score(in).risk()
			}
		}
	})
	return out, nil
}
