package collect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Memory reads how much memory there is and how short it gets.
type Memory struct {
	Proc string // root of /proc
}

// Name is "memory".
func (*Memory) Name() string { return "memory" }

// Collect reads meminfo and vmstat.
func (m *Memory) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	root, err := procfs.NewFS(m.Proc)
	if err != nil {
		return agent.Collected{}, err
	}
	info, err := root.Meminfo()
	if err != nil {
		return agent.Collected{}, err
	}
	r := readings{at: now}
	bytes := func(name string, v *uint64) {
		if v == nil {
			r.absent("memory", name)
			return
		}
		r.value("memory", name, float64(*v))
	}
	bytes(signal.MemoryTotal, info.MemTotalBytes)
	bytes(signal.MemoryAvailable, info.MemAvailableBytes)
	if info.SwapTotalBytes != nil && info.SwapFreeBytes != nil {
		r.value("memory", signal.SwapUsed, float64(*info.SwapTotalBytes-min(*info.SwapTotalBytes, *info.SwapFreeBytes)))
	} else {
		r.absent("memory", signal.SwapUsed)
	}
	r.maybe("memory", signal.OOMKills, oomKills(m.Proc))
	return agent.Collected{Readings: r.list}, nil
}

// AvailableKiB is MemAvailable; an agent.Memory.
func (m *Memory) AvailableKiB() (uint64, error) {
	root, err := procfs.NewFS(m.Proc)
	if err != nil {
		return 0, err
	}
	info, err := root.Meminfo()
	if err != nil {
		return 0, err
	}
	if info.MemAvailableBytes == nil {
		return 0, fmt.Errorf("%s: no MemAvailable", filepath.Join(m.Proc, "meminfo"))
	}
	return *info.MemAvailableBytes / 1024, nil
}

// oomKills is one line of a file that procfs does not parse; kernels since 4.13
// have it.
func oomKills(proc string) *float64 {
	text, err := os.ReadFile(filepath.Join(proc, "vmstat"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(count), 64); err == nil {
				return &v
			}
		}
	}
	return nil
}
