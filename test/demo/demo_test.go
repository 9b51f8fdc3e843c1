package demo

import (
	"testing"
	"time"
)

func TestADayIsLongerOnASlowMachine(t *testing.T) {
	for up, want := range map[time.Duration]time.Duration{
		4 * time.Second:          time.Second, // no day is shorter
		10 * time.Second:         time.Second,
		27340 * time.Millisecond: 2700 * time.Millisecond,
		3 * time.Minute:          5 * time.Second, // the story has to end
	} {
		if got := dayOn(up); got != want {
			t.Errorf("the fleet came up in %v: a day lasts %v, want %v", up, got, want)
		}
	}
}
