package decide

import "time"

// Mode says how far automation may go.
type Mode string

// The modes.
const (
	Shadow    Mode = "shadow"    // decide and record
	Recommend Mode = "recommend" // wait for a person's yes
	Auto      Mode = "auto"      // act
)

// Threshold is a pair: a level is entered at Enter and left below Leave, both in
// percent of failure within 30 days; Enter is greater.
type Threshold struct {
	Enter float64 `json:"enter"`
	Leave float64 `json:"leave"`
}

// Policy is what the operator set.
type Policy struct {
	Mode       Mode      `json:"mode"`
	Watch      Threshold `json:"watch"`
	Quarantine Threshold `json:"quarantine"`
	Evacuate   Threshold `json:"evacuate"`

	// Hold and HoldReadings: model risk counts only after it has stood so long
	// and for so many scores. Hard evidence needs neither.
	Hold         time.Duration `json:"hold"`
	HoldReadings int           `json:"hold_readings"`

	// At most MaxHosts hosts, and at most MaxPercent of all hosts (but always
	// one), are acted upon in any Window. 0: no limit.
	MaxHosts   int           `json:"max_hosts"`
	MaxPercent float64       `json:"max_percent"`
	Window     time.Duration `json:"window"`

	// Memory that may be claimed on a host: (total − ReserveKiB) × Overcommit.
	ReserveKiB uint64  `json:"reserve_kib"`
	Overcommit float64 `json:"overcommit"`

	// Bandwidth in bytes per second that estimates assume; PerSource moves share it.
	Bandwidth uint64 `json:"bandwidth"`
	PerSource int    `json:"per_source"`
}

// CapacityKiB is what may be claimed on a host with so much memory.
func (p Policy) CapacityKiB(total uint64) uint64 {
	if total <= p.ReserveKiB {
		return 0
	}
	over := p.Overcommit
	if over <= 0 {
		over = 1
	}
	return uint64(float64(total-p.ReserveKiB) * over)
}

// limit is how many of n hosts may be acted upon in a window.
func (p Policy) limit(n int) int {
	limit := n
	if p.MaxHosts > 0 {
		limit = min(limit, p.MaxHosts)
	}
	if p.MaxPercent > 0 {
		limit = min(limit, max(1, int(p.MaxPercent/100*float64(n))))
	}
	return limit
}
