package collect

import (
	"context"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// CPU reads how busy the processors are.
type CPU struct {
	Proc string // root of /proc
	last procfs.CPUStat
	seen bool
}

// Name is "cpu".
func (*CPU) Name() string { return "cpu" }

// Collect gives shares since the last call, nothing at the first.
func (c *CPU) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	root, err := procfs.NewFS(c.Proc)
	if err != nil {
		return agent.Collected{}, err
	}
	stat, err := root.Stat()
	if err != nil {
		return agent.Collected{}, err
	}
	r := readings{at: now}
	was, is := c.last, stat.CPUTotal
	seen := c.seen
	c.last, c.seen = is, true
	// Guest time is part of user time.
	busy := func(s procfs.CPUStat) float64 { return s.User + s.Nice + s.System + s.IRQ + s.SoftIRQ + s.Steal }
	total := busy(is) - busy(was) + is.Idle - was.Idle + is.Iowait - was.Iowait
	// Idle and iowait are known to run backwards by a little.
	if seen && total > 0 {
		r.value("cpu", signal.CPUBusy, share(busy(is)-busy(was), total))
		r.value("cpu", signal.CPUIOWait, share(is.Iowait-was.Iowait, total))
	}
	return agent.Collected{Readings: r.list}, nil
}

// share is part of total, kept in 0 … 1.
func share(part, total float64) float64 { return min(1, max(0, part/total)) }

// Heat reads processor temperature and throttling.
type Heat struct {
	Sys string // root of /sys
}

// Name is "heat".
func (*Heat) Name() string { return "heat" }

// Collect gives the hottest sensor of the processors; ErrAbsent without one.
func (h *Heat) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	r := readings{at: now}
	var hottest *float64
	for _, dev := range names(h.Sys, "class/hwmon") {
		dir := filepath.Join(h.Sys, "class/hwmon", dev)
		switch word(dir, "name") {
		case "coretemp", "k10temp", "zenpower":
		default:
			continue
		}
		inputs, _ := filepath.Glob(filepath.Join(dir, "temp*_input"))
		for _, in := range inputs {
			if v := number(in); v != nil && (hottest == nil || *v > *hottest) {
				hottest = v
			}
		}
	}
	if hottest != nil {
		r.value("cpu", signal.CPUTemperature, *hottest/1000)
	}
	counts, _ := filepath.Glob(filepath.Join(h.Sys, "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"))
	sum, any := 0.0, false
	for _, file := range counts {
		if v := number(file); v != nil {
			sum, any = sum+*v, true
		}
	}
	if any {
		r.value("cpu", signal.CPUThrottled, sum)
	}
	if len(r.list) == 0 {
		return agent.Collected{}, ErrAbsent
	}
	return agent.Collected{Readings: r.list}, nil
}
