package signal

import (
	"slices"
	"strings"
	"sync"
)

// Kind says how the values of a signal are to be understood.
type Kind string

const (
	// Counter only grows while the thing that counts lives; what matters is its
	// increase. It may restart at zero (a reboot, a replaced device, a wrap).
	Counter Kind = "counter"
	// Gauge is a level that may go either way.
	Gauge Kind = "gauge"
	// Verdict is what a device, driver or kernel says about itself, in Text; a
	// Value, where there is one, is 1 for good and 0 for bad.
	Verdict Kind = "verdict"
	// Event happened at ObservedAt; Text says what.
	Event Kind = "event"
)

// Units used by the catalogue. Ratios run from 0 to 1.
const (
	None      = ""           // a verdict, an event, bits
	Count     = "count"      // how many
	Seconds   = "seconds"    //
	Hours     = "hours"      // as drives count them
	Bytes     = "bytes"      //
	Ratio     = "ratio"      // 0 … 1
	Percent   = "percent"    // only where a device reports percent
	Celsius   = "celsius"    //
	PerSecond = "per_second" // a rate made by the collector
	PerMinute = "per_minute" // turns of a disk
)

// Signal is one line of the catalogue.
type Signal struct {
	Name    string // the value of Reading.Signal
	Kind    Kind
	Unit    string // one of the units above
	On      string // the component it belongs to, up to the colon: disk, dimm, mc, nic, cpu, memory, os, …
	Meaning string // in a few plain words, fit to follow "because of"
	Source  string // where the collector finds it
}

var catalogue = sync.OnceValue(func() []Signal {
	return slices.Concat(smartSignals, nvmeSignals, scsiSignals, memorySignals, osSignals)
})

var byName = sync.OnceValue(func() map[string]Signal {
	m := make(map[string]Signal, len(catalogue()))
	for _, s := range catalogue() {
		m[s.Name] = s
	}
	return m
})

// All returns every signal, in the catalogue's order. The slice is the caller's.
func All() []Signal { return slices.Clone(catalogue()) }

// Lookup finds a signal by name.
func Lookup(name string) (Signal, bool) {
	s, ok := byName()[name]
	return s, ok
}

// Known reports whether the catalogue has the name.
func Known(name string) bool {
	_, ok := byName()[name]
	return ok
}

// ComponentKind returns the part of a component's name before the colon:
// "disk" of "disk:Z300V1RR", "cpu" of "cpu".
func ComponentKind(component string) string {
	kind, _, _ := strings.Cut(component, ":")
	return kind
}

// DiskComponent is the component name of the drive with that serial number.
func DiskComponent(serial string) string { return "disk:" + serial }
