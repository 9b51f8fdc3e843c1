//go:build !race

package sim

// days is how many days TestDays runs by itself.
const days = 40
