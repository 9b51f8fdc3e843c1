package dial

import (
	"testing"
	"time"
)

func TestPauseAfter(t *testing.T) {
	if got := pauseAfter(0, 0.99); got != 0 {
		t.Errorf("the first try waits %s", got)
	}
	last := time.Duration(0)
	for failed := 1; failed < 100; failed++ {
		least, most := pauseAfter(failed, 0), pauseAfter(failed, 0.999)
		if least < last/2 || most < last || most > lastPause {
			t.Errorf("after %d failures: %s to %s, before up to %s", failed, least, most, last)
		}
		if most-least < least*9/10 {
			t.Errorf("after %d failures a fleet comes back within %s", failed, most-least)
		}
		last = most
	}
	if last < lastPause*9/10 {
		t.Errorf("ends at %s", last)
	}
}
