//go:build race

package sim

// days is less with the race detector, which makes a day eight times as long and
// has nothing to find in one goroutine.
const days = 3
