package manager

import (
	"testing"

	"github.com/vireo-kvm/vireo/configs"
)

// TestBandwidthIsInBytes: people write bits per second, rows, plans and the wire
// have bytes.
func TestBandwidthIsInBytes(t *testing.T) {
	for text, want := range map[string]struct{ move, plan uint64 }{
		"1Gbit/s":   {125e6, 125e6},
		"64MiB/s":   {64 << 20, 64 << 20},
		"unlimited": {0, assumedBandwidth},
	} {
		cfg := configs.DefaultManager()
		if err := cfg.Migration.Bandwidth.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		p := PolicyFrom(cfg)
		if p.Options.Bandwidth != want.move || p.Decide.Bandwidth != want.plan {
			t.Errorf("%s: moves get %d, plans reckon with %d, want %+v", text, p.Options.Bandwidth, p.Decide.Bandwidth, want)
		}
	}
}
