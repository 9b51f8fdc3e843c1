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

// enoughFailures is from how many failures on a month says something.
const enoughFailures = 10

// forwardDays is how many days at the end of a training are judged by what came
// before them.
const forwardDays = 180

// forwardDrift is the drift that the last months show under a model of what was
// known before them: what the months to come will do to this one.
func (c *calibration) forwardDrift(data *dataset, drives []Drive, bins *binned) (float64, error) {
	var last time.Time
	day := make([]time.Time, len(data.marks))
	for i, l := range data.marks {
		day[i] = drives[l.drive].day(l.hour)
		if day[i].After(last) {
			last = day[i]
		}
	}
	cut := last.AddDate(0, 0, -forwardDays)
	learn := func(i int) bool { return day[i].Before(cut.AddDate(0, 0, -30)) } // whose fate was known
	use := slices.DeleteFunc(every(len(day)), func(i int32) bool { return !learn(int(i)) })
	failing := 0.0
	for _, i := range use {
		failing += indicator(data.rows.label[i])
	}
	if failing < enoughFailures {
		return 0, nil
	}
	w, err := fitLogistic(data.rows.where(learn), ridge(data.rows.width, slopePenalty))
	if err != nil {
		return 0, err
	}
	_, z := boost(bins, data.rows.label, data.rows.weight, use, treeBoosting)
	months := monthly{}
	for i := range day {
		if !day[i].Before(cut) && !data.hidden[i] {
			y, _ := c.at((1-treeShare)*data.rows.dot(i, w) + treeShare*z[i])
			months.add(day[i], float64(data.rows.weight[i]), sigmoid(y), data.rows.label[i])
		}
	}
	return months.drift(trainEvery), nil
}

// drift estimates how much whole months of the training deviate from what is
// expected.
func (c *calibration) drift(z []float64, data *dataset, drives []Drive) float64 {
	months := monthly{}
	for i, l := range data.marks {
		if !data.hidden[i] {
			y, _ := c.at(z[i])
			months.add(drives[l.drive].day(l.hour), float64(data.rows.weight[i]), sigmoid(y), data.rows.label[i])
		}
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
	perFailure := float64(hours30d) / float64(every)
	var sum, n float64
	for _, k := range slices.Sorted(maps.Keys(m)) {
		failures := m[k].observed / perFailure
		if failures < enoughFailures || m[k].expected <= 0 {
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
