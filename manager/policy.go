package manager

import (
	"time"

	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/migration"
)

// Policy is what the operator set, as the core needs it.
type Policy struct {
	Decide       decide.Policy
	UnknownAfter time.Duration // without a complete report
	Cooldown     time.Duration // automation leaves a domain alone for so long after a move

	PerSource, PerTarget, Cluster int
	TimeoutPerGiB                 time.Duration
	Stall                         time.Duration
	Options                       migration.Options // Timeout is set per row
	Switchover                    migration.Switchover

	// Arbitration is how long the first host that asks for a domain waits for
	// others; 0: the first gets it.
	Arbitration time.Duration

	Retry Retry
	Pace  Pace
}

// Retry says how a domain that did not get away is tried again.
type Retry struct {
	Attempts int           // per decision; then a person must ask again
	Backoff  time.Duration // after the first failure; doubles with each
	Refused  time.Duration // a target that refused a domain is not asked again for so long
}

// Pace says how often what runs.
type Pace struct {
	Decide time.Duration // without news
	Pursue time.Duration // what is to leave and has no row
	Owed   time.Duration // what hosts still have to do or to learn
	Flush  time.Duration // what is only shown, and what may be lost
	Answer time.Duration // an order that was not answered is sent again
	Again  time.Duration // an order that was answered without effect is sent again
	Look   time.Duration // a side whose word is awaited is asked
	Alarm  time.Duration // a paused guest alarms
	Retain time.Duration
	// Snapshot of the model's memory of a host, at most so often.
	Snapshot time.Duration
}

// DefaultPace is the pace of a production manager.
func DefaultPace() Pace {
	return Pace{
		Decide: time.Second, Pursue: 500 * time.Millisecond, Owed: time.Second, Flush: 200 * time.Millisecond,
		Answer: 10 * time.Second, Again: 3 * time.Second, Look: 200 * time.Millisecond, Alarm: 5 * time.Second, Retain: time.Hour, Snapshot: time.Minute,
	}
}

// assumedBandwidth is what plans reckon with when no limit is set: a gigabit
// Ethernet's 1 Gbit/s, less what protocols take. Bytes per second.
const assumedBandwidth = 112 << 20

// PolicyFrom translates the configuration.
func PolicyFrom(m configs.Manager) Policy {
	bandwidth := m.Migration.Bandwidth.BytesPerSecond()
	threshold := func(t configs.Threshold) decide.Threshold { return decide.Threshold{Enter: t.Enter, Leave: t.Leave} }
	p := Policy{
		Decide: decide.Policy{
			Mode:         decide.Mode(m.Mode),
			Watch:        threshold(m.Thresholds.Watch),
			Quarantine:   threshold(m.Thresholds.Quarantine),
			Evacuate:     threshold(m.Thresholds.Evacuate),
			Hold:         time.Duration(m.Hold),
			HoldReadings: m.HoldReadings,
			MaxHosts:     m.Decision.MaxHosts,
			MaxPercent:   m.Decision.MaxPercent,
			Window:       time.Duration(m.Decision.Window),
			ReserveKiB:   uint64(m.Capacity.Reserve) / 1024,
			Overcommit:   m.Capacity.OvercommitMemory,
			Bandwidth:    bandwidth,
			PerSource:    m.Migration.PerSource,
		},
		UnknownAfter:  time.Duration(m.UnknownAfter),
		Cooldown:      time.Duration(m.Decision.Cooldown),
		PerSource:     m.Migration.PerSource,
		PerTarget:     m.Migration.PerTarget,
		Cluster:       m.Migration.Cluster,
		TimeoutPerGiB: time.Duration(m.Migration.TimeoutPerGiB),
		Stall:         time.Duration(m.Migration.Stall),
		Options: migration.Options{
			Bandwidth:    bandwidth,
			MaxDowntime:  time.Duration(m.Migration.MaxDowntime),
			AutoConverge: m.Migration.AutoConverge,
			Parallel:     m.Migration.Parallel,
		},
		Switchover:  migration.Switchover(m.Migration.Switchover),
		Arbitration: time.Duration(m.Claims.ArbitrationWindow),
		Retry:       Retry{Attempts: 3, Backoff: 10 * time.Second, Refused: 10 * time.Minute},
		Pace:        DefaultPace(),
	}
	if p.Decide.Bandwidth == 0 {
		p.Decide.Bandwidth = assumedBandwidth
	}
	return p
}

// reportInterval is how often agents are asked to report: often enough that two
// may be lost before a host is unknown.
func (p Policy) reportInterval() time.Duration {
	return max(time.Second, min(5*time.Second, p.UnknownAfter/4))
}
