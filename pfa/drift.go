package pfa

import (
	"maps"
	"math"
	"slices"
	"time"
)

// minDriftLogit is the least that whole months are taken to differ from each
// other.
const minDriftLogit = 0.1

// drift estimates how much whole months of the training deviate from what is
// expected.
func (c *calibration) drift(z []float64, data *dataset, drives []Drive) float64 {
	months := monthly{}
	for i, l := range data.marks {
		y, _ := c.at(z[i])
		months.add(drives[l.drive].day(l.hour), l.weight, sigmoid(y), l.within(hours30d))
	}
	return months.drift(trainEvery)
}

// monthly sums what was observed and expected by calendar month.
type monthly map[int]*struct{ observed, expected float64 }

func (m monthly) add(day time.Time, weight, expected float64, failed bool) {
	key := day.Year()*12 + int(day.Month())
	if m[key] == nil {
		m[key] = &struct{ observed, expected float64 }{}
	}
	m[key].expected += weight * expected
	m[key].observed += weight * indicator(failed)
}

// drift is the root mean square of log(observed / expected) of the months,
// beyond what chance makes of their numbers. Landmarks lie so many hours apart:
// a failure is seen from several, which are one event.
func (m monthly) drift(every Axis) float64 {
	const enough = 10 // failures
	perFailure := float64(hours30d) / float64(every)
	var sum, n float64
	for _, k := range slices.Sorted(maps.Keys(m)) {
		failures := m[k].observed / perFailure
		if failures < enough || m[k].expected <= 0 {
			continue
		}
		x := math.Log(m[k].observed / m[k].expected)
		sum += x*x - 1/failures
		n++
	}
	if n == 0 || sum <= 0 {
		return minDriftLogit
	}
	return max(minDriftLogit, math.Sqrt(sum/n))
}
