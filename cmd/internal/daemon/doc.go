// Package daemon is what vireo-manager and vireo-agent have in common as
// programs: the clock, the log, systemd's notification, and what an error means
// for the exit code.
package daemon
