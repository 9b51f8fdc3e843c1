//go:build e2e

package demo_test

import (
	"os"
	"testing"

	"github.com/vireo-kvm/vireo/test/demo"
)

// TestAFailureIsOutrun is the product's promise, at the default thresholds: the
// host of the dying drive is empty at least a week of recorded days before the
// drive's last one, and nothing happens to the guests or to the healthy host.
func TestAFailureIsOutrun(t *testing.T) {
	res, err := demo.Run(t.Context(), demo.Options{Out: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	if res.EmptyAt > -7 {
		t.Errorf("the host was empty on day %d, want day -7 or earlier", res.EmptyAt)
	}
	if !res.HealthyStayed {
		t.Error("the healthy drive's host did not stay in service with its guests")
	}
	if len(res.Guests) != 2 {
		t.Errorf("%d guests are said to have moved, want the two of the failing host", len(res.Guests))
	}
	for _, g := range res.Guests {
		if g.Restarts != 0 || g.Double != 0 || g.Damaged {
			t.Errorf("%s: %d restarts, two senders in %d s, damaged %v", g.Name, g.Restarts, g.Double, g.Damaged)
		}
		if g.Downtime.Total <= 0 || g.To == demo.FailingHost {
			t.Errorf("%s: downtime %v, to %s", g.Name, g.Downtime, g.To)
		}
	}
}
