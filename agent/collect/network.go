package collect

import (
	"context"
	"path/filepath"
	"time"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Network reads the counters of physical network cards: those with a device
// behind them. Bridges, bonds and guests' taps only repeat what these see.
type Network struct {
	Sys string // root of /sys
}

// Name is "network".
func (*Network) Name() string { return "network" }

var nicCounters = []struct{ name, file string }{
	{signal.NICReceiveErrors, "statistics/rx_errors"},
	{signal.NICTransmitErrors, "statistics/tx_errors"},
	{signal.NICReceiveDropped, "statistics/rx_dropped"},
	{signal.NICCarrierChanges, "carrier_changes"},
	{signal.NICReceiveBytes, "statistics/rx_bytes"},
	{signal.NICTransmitBytes, "statistics/tx_bytes"},
}

// Collect reads all cards; ErrAbsent when there is none.
func (n *Network) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	r := readings{at: now}
	for _, name := range names(n.Sys, "class/net") {
		dir := filepath.Join(n.Sys, "class/net", name)
		if !exists(dir, "device") {
			continue
		}
		component := nicComponent(name)
		switch state := word(dir, "operstate"); state {
		case "up", "down":
			r.verdict(component, signal.NICUp, state == "up", state)
		default: // "unknown" is what drivers say that do not say
			r.text(component, signal.NICUp, state)
		}
		for _, c := range nicCounters {
			r.maybe(component, c.name, number(dir, c.file))
		}
	}
	if len(r.list) == 0 {
		return agent.Collected{}, ErrAbsent
	}
	return agent.Collected{Readings: r.list}, nil
}

func nicComponent(name string) string { return "nic:" + name }
