package collect

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs/blockdevice"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Disk reads how busy and how slow the drives are.
type Disk struct {
	Proc, Sys string // roots of /proc and /sys
	Drives    *Drives

	last map[string]blockdevice.IOStats
	at   time.Time
}

// Name is "disk".
func (*Disk) Name() string { return "disk" }

// Collect gives averages since the last call, nothing but error counts at the
// first. Only drives count, not what is made of them (partitions, dm, md, loop).
func (d *Disk) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	root, err := blockdevice.NewFS(d.Proc, d.Sys)
	if err != nil {
		return agent.Collected{}, err
	}
	stats, err := root.ProcDiskstats()
	if err != nil {
		return agent.Collected{}, fmt.Errorf("diskstats: %w", absentIfMissing(err))
	}
	r := readings{at: now}
	elapsed := now.Sub(d.at).Seconds()
	next := make(map[string]blockdevice.IOStats, len(d.last))
	for _, s := range stats {
		if !exists(d.Sys, "block", s.DeviceName, "device") {
			continue
		}
		is := s.IOStats
		next[s.DeviceName] = is
		c := d.Drives.Component(s.DeviceName)
		if was, ok := d.last[s.DeviceName]; ok && elapsed > 0 && is.IOsTotalTicks >= was.IOsTotalTicks {
			r.value(c, signal.DiskBusy, share(float64(is.IOsTotalTicks-was.IOsTotalTicks)/1000, elapsed))
			r.latency(c, signal.DiskReadLatency, is.ReadTicks-was.ReadTicks, is.ReadIOs-was.ReadIOs)
			r.latency(c, signal.DiskWriteLatency, is.WriteTicks-was.WriteTicks, is.WriteIOs-was.WriteIOs)
		}
		if v := number(filepath.Join(d.Sys, "block", s.DeviceName, "device/ioerr_cnt")); v != nil {
			r.value(c, signal.DiskIOErrors, *v)
		}
	}
	d.last, d.at = next, now
	if len(next) == 0 {
		return agent.Collected{}, fmt.Errorf("no drives: %w", ErrAbsent)
	}
	return agent.Collected{Readings: r.list}, nil
}

// latency is the mean of the requests that ended meanwhile; nothing when none did.
func (r *readings) latency(component, name string, milliseconds, requests uint64) {
	if requests > 0 {
		r.value(component, name, float64(milliseconds)/float64(requests)/1000)
	}
}
