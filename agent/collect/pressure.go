package collect

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/vireo-kvm/vireo/agent"
	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Pressure reads the kernel's pressure stall information.
type Pressure struct {
	Proc string // root of /proc
}

// Name is "pressure".
func (*Pressure) Name() string { return "pressure" }

// Collect gives shares of the last minute; ErrAbsent on a kernel without PSI,
// or started with psi=0.
func (p *Pressure) Collect(_ context.Context, now time.Time) (agent.Collected, error) {
	root, err := procfs.NewFS(p.Proc)
	if err != nil {
		return agent.Collected{}, err
	}
	r := readings{at: now}
	for _, one := range []struct{ resource, component, some, full string }{
		{"cpu", "cpu", signal.PressureCPUSome, ""}, // full means nothing for processors
		{"memory", "memory", signal.PressureMemorySome, signal.PressureMemoryFull},
		{"io", "os", signal.PressureIOSome, signal.PressureIOFull},
	} {
		stats, err := root.PSIStatsForResource(one.resource)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
			return agent.Collected{}, ErrAbsent
		}
		if err != nil {
			return agent.Collected{Readings: r.list}, err
		}
		line := func(name string, l *procfs.PSILine) {
			switch {
			case name == "":
			case l == nil:
				r.absent(one.component, name)
			default:
				r.value(one.component, name, l.Avg60/100)
			}
		}
		line(one.some, stats.Some)
		line(one.full, stats.Full)
	}
	return agent.Collected{Readings: r.list}, nil
}
