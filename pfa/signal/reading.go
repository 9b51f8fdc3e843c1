package signal

import "time"

// Status says what became of one attempt to read one signal.
type Status string

// The three things that can happen to a reading. Absent is not failed: a drive
// without attribute 187 is normal, a smartctl that hangs is not.
const (
	OK     Status = "ok"     // the value was read
	Absent Status = "absent" // the source exists and does not have this signal
	Failed Status = "failed" // the source could not be read
)

// Reading is one observation of one signal of one component of one host. It is
// the only type that travels from the collectors to the model.
type Reading struct {
	Host       string    // the host's name as enrolled
	Component  string    // "disk:SERIAL", "dimm:MC/CH/SLOT", "nic:NAME", "cpu", "os", …
	Signal     string    // a name of the catalogue, such as "smart_5_raw"
	Value      *float64  // nil when Status is not OK, or the signal is an event without a number
	Text       string    // what a verdict or event says in words, a drive's model, a failed collector's error
	Unit       string    // the catalogue's unit, repeated so that stored readings explain themselves
	ObservedAt time.Time // wall time of the observation; only shown and used as an axis, never as a timeout
	BootID     string    // the host's boot id; counters that live in the kernel restart with it
	Seq        uint64    // grows by one with each reading of one agent in one boot
	Status     Status
}
