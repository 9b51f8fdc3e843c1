package moves

import (
	"time"

	"github.com/vireo-kvm/vireo/migration"
)

// The parts of a migration.Row. They are converted as they stand from package
// migration, which knows nothing of storage: a field added there does not
// compile until it has a stored name.
type (
	Before struct {
		Paused      bool   `json:"paused,omitempty"`
		Persistent  bool   `json:"persistent,omitempty"`
		Autostart   bool   `json:"autostart,omitempty"`
		MemoryKiB   uint64 `json:"memory_kib,omitempty"`
		XML         string `json:"xml,omitempty"`
		InactiveXML string `json:"inactive_xml,omitempty"`
	}
	Options struct {
		Bandwidth    uint64        `json:"bandwidth,omitempty"`
		MaxDowntime  time.Duration `json:"max_downtime_ns,omitempty"`
		AutoConverge bool          `json:"auto_converge,omitempty"`
		PostCopy     bool          `json:"post_copy,omitempty"`
		Parallel     int           `json:"parallel,omitempty"`
		CopyDisks    []string      `json:"copy_disks,omitempty"`
		Timeout      time.Duration `json:"timeout_ns,omitempty"`
	}
	Step struct {
		At     time.Time `json:"at,omitzero"`
		Name   string    `json:"name"`
		Detail string    `json:"detail,omitempty"`
	}
	Progress struct {
		DataTotal           uint64    `json:"data_total,omitempty"`
		DataProcessed       uint64    `json:"data_processed,omitempty"`
		DataRemaining       uint64    `json:"data_remaining,omitempty"`
		BytesPerSecond      uint64    `json:"bytes_per_second,omitempty"`
		DirtyBytesPerSecond uint64    `json:"dirty_bytes_per_second,omitempty"`
		Iteration           uint64    `json:"iteration,omitempty"`
		At                  time.Time `json:"at,omitzero"`
	}
	Downtime struct {
		Switch     time.Duration `json:"switch_ns,omitempty"`
		SourceExit time.Duration `json:"source_exit_ns,omitempty"`
		Handover   time.Duration `json:"handover_ns,omitempty"`
		Total      time.Duration `json:"total_ns,omitempty"`
	}
)

// OfSteps is a move's story as it is stored.
func OfSteps(steps []migration.Step) []Step {
	var out []Step
	for _, s := range steps {
		out = append(out, Step(s))
	}
	return out
}

// Steps is the story that was stored.
func Steps(stored []Step) []migration.Step {
	var out []migration.Step
	for _, s := range stored {
		out = append(out, migration.Step(s))
	}
	return out
}
