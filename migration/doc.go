// Package migration knows what a move of one guest is: its record, its states,
// the table of resting states and the next step. It is pure: facts in, one step
// out, no clock, no network, no libvirt.
//
// A move is a row, not a goroutine. The manager calls Next with the row and what
// both sides last showed; Next names the one step that is right now, or says
// what it waits for. Restarting after a crash is the next call.
//
// DESIGN.md beside this file has the steps of a good move and the table: what both
// hosts show, the step that follows, and how it ends.
//
// What does not belong here: limits and slots, sending orders, claims in the
// store (all manager), and calls to libvirt (agent/virt).
package migration
