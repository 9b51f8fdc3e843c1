// Package collect reads the host: processors, memory, pressure, disks, network,
// memory errors, heat and the drives' SMART data, and finds out what depends on
// each device. Each collector is one file, reads below roots that are passed in,
// and gives readings of the catalogue in pfa/signal.
//
// "Not there" is not "broken": a host without EDAC gives no such readings, a
// drive without attribute 187 gives one that is absent, and a smartctl that
// hangs is a collector that failed, with the reason. Run keeps the collectors
// apart: one that hangs is left alone, not started again, and holds nobody up.
//
// What does not belong here: what a reading means (pfa), and host, boot and
// sequence number, which the agent fills in.
package collect
