package pfa

// Axis is a component's own time in whole hours. Online it is the time of
// observation (hours since the Unix epoch); in training it is the drive's
// power-on hours, because calendar dates of recorded histories are less exact.
// Only differences matter, apart from the phase of the windows' buckets.
type Axis = int64

// Window is one of the look-back periods over which increases are summed.
type Window int

// The windows, by their length in days.
const (
	Days3 Window = iota
	Days7
	Days30
	Days90
	windows
)

// Days returns the window's length in days.
func (w Window) Days() int { return [windows]int{3, 7, 30, 90}[w] }

// ring describes how one window is kept: n buckets of so many hours. A window
// sums its current bucket and the n-1 before it, so it reaches back at least
// its length and at most one bucket more.
type ring struct {
	hours Axis
	n     Axis
	at    int // where its buckets begin in increases.bucket
}

var rings = [windows]ring{
	Days3:  {hours: 12, n: 7, at: 0},
	Days7:  {hours: 24, n: 8, at: 7},
	Days30: {hours: 72, n: 11, at: 15},
	Days90: {hours: 240, n: 10, at: 26},
}

const bucketCount = 36

// increases remembers by how much something rose, over every window, in
// constant space and constant time per observation. The zero value is empty.
type increases struct {
	last   Axis // time of the latest add; meaningless while nothing was added
	some   bool
	bucket [bucketCount]float32
}

// add notes a rise of by at time t. A time before the latest one counts as the
// latest: late readings must not vanish.
func (in *increases) add(t Axis, by float64) {
	if by <= 0 {
		return
	}
	if in.some && t < in.last {
		t = in.last
	}
	for _, r := range rings {
		now := floorDiv(t, r.hours)
		if in.some {
			from := max(floorDiv(in.last, r.hours)+1, now-r.n+1)
			for i := from; i <= now; i++ {
				in.bucket[r.slot(i)] = 0
			}
		}
		in.bucket[r.slot(now)] += float32(by)
	}
	in.last, in.some = t, true
}

// over returns the rise within the window that ends at t; of nil, 0.
func (in *increases) over(w Window, t Axis) float64 {
	if in == nil || !in.some {
		return 0
	}
	r := rings[w]
	newest := floorDiv(in.last, r.hours)
	sum := float32(0)
	for i := max(floorDiv(max(t, in.last), r.hours)-r.n+1, newest-r.n+1); i <= newest; i++ {
		sum += in.bucket[r.slot(i)]
	}
	return float64(sum)
}

func (r ring) slot(index Axis) int {
	m := index % r.n
	if m < 0 {
		m += r.n
	}
	return r.at + int(m)
}

func floorDiv(a, b Axis) Axis {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}
