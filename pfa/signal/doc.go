// Package signal names everything vireo observes about a host: one catalogue of
// signals, and the Reading that carries one observation of one of them.
//
// The agent makes readings of these signals, features and hard evidence read
// them, explanations print their meaning and unit. A name that is not in the
// catalogue does not exist: the agent must not send it and the manager counts
// and drops it.
//
// To add a signal: a constant for its name, one line in the table of its file
// (smart.go, nvme.go, scsi.go, memory.go, os.go), the collector that makes it
// and the code that reads it. Tests fail when any of the four is missing. There
// is no registration; All returns the concatenated tables.
package signal
