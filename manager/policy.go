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
	UnknownAfter time.Duration // a host without a complete report for so long is unknown
	Cooldown     time.Duration // automation leaves a domain alone for so long after a move

	// How many moves may be under way at once: from one source, to one target, in all.
	PerSource, PerTarget, Cluster int

	TimeoutPerGiB time.Duration     // see migration.TimeoutFor
	Stall         time.Duration     // a move that gets no closer for so long is given up; 0: never
	Options       migration.Options // of every move; Timeout is set per row
	Switchover    migration.Switchover

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

// Pace says how often each pass runs, and after how long an order is repeated.
type Pace struct {
	Decide time.Duration // between decisions when nothing new has come in
	Pursue time.Duration // between looks for guests that are to leave and have no row
	Owed   time.Duration // between looks for what hosts still have to do or to learn
	Flush  time.Duration // between writes of what is only shown, which a crash may lose

	Answer time.Duration // until an order without an answer is sent again
	Again  time.Duration // until an order that was answered and had no effect is sent again
	Look   time.Duration // between questions to a side whose word a move waits for
	Alarm  time.Duration // until a guest that its move has paused raises an alarm

	Retain   time.Duration // between passes that delete what is older than the retention says
	Snapshot time.Duration // between writes of the model's memory of one host, at least
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
