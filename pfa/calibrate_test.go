package pfa

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestIsotonic(t *testing.T) {
	got := isotonic([]pool{{10, 1}, {10, 3}, {10, 2}, {20, 8}, {5, 1}})
	want := []float64{0.1, 0.25, 0.25, 0.36, 0.36}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-12 {
			t.Fatalf("rates %v, want %v", got, want)
		}
	}
}

// landmarksOfRate makes scores, and labels that come true as often as rate
// says of the score.
func landmarksOfRate(n int, seed uint64, rate func(z float64) float64) (z []float64, data *rows) {
	random := rand.New(rand.NewPCG(seed, 1))
	data = newRows(0)
	for i := range n {
		x := random.NormFloat64()*1.5 - 5
		z = append(z, x)
		data.add(&vector{}, 1, random.Float64() < rate(x), i)
	}
	return z, data
}

// TestVennAbersHoldsTheTruth: the interval holds the true rate nearly
// everywhere, rises with the score, and is narrow where there is much to learn
// from.
func TestVennAbersHoldsTheTruth(t *testing.T) {
	rate := func(z float64) float64 { return sigmoid(0.6*z + 1) }
	z, data := landmarksOfRate(200000, 3, rate)
	a := vennAbers(z, data, 4)
	if !a.sound() || len(a.Upto) < abersBins/2 {
		t.Fatalf("%d bins, sound %v", len(a.Upto), a.sound())
	}
	held, all, width := 0, 0, 0.0
	lastLo, lastHi := math.Inf(-1), math.Inf(-1)
	for x := -8.0; x <= -2; x += 0.05 {
		lo, hi := a.at(x)
		if lo < lastLo || hi < lastHi {
			t.Fatalf("at %g the interval falls", x)
		}
		lastLo, lastHi = lo, hi
		const bin = 0.15 // a bin's scores differ, and its rate is theirs
		truth := logit(rate(x))
		all++
		held += int(indicator(lo-bin <= truth && truth <= hi+bin))
		width += hi - lo
	}
	if float64(held) < 0.85*float64(all) || width/float64(all) > 0.5 {
		t.Errorf("holds the truth in %d of %d places, %.2f logits wide", held, all, width/float64(all))
	}
}

// TestCalibrationIsHonest: what it says comes true that often, whatever the
// score's scale.
func TestCalibrationIsHonest(t *testing.T) {
	rate := func(z float64) float64 { return sigmoid(0.5*z - 1) }
	z, data := landmarksOfRate(100000, 5, rate)
	c, err := calibrate(z, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []float64{-8, -6, -5, -4, -2} {
		if y, _ := c.at(x); math.Abs(sigmoid(y)/rate(x)-1) > 0.15 {
			t.Errorf("at %g: %g, want %g", x, sigmoid(y), rate(x))
		}
	}
	flat := slices.Clone(z)
	for i := range flat {
		flat[i] = -z[i]
	}
	if _, err := calibrate(flat, data); err == nil {
		t.Error("scores that fall with the risk were calibrated")
	}
}
