// Package chaos hurts a lab for a while, in an order that a seed decides, and
// watches from outside whether any guest suffers what vireo promises it never
// does. `vireo-lab chaos` is its command; a short run is part of the tests.
//
// # A run
//
// A [Schedule] is an endless sequence of rounds, drawn from the seed alone. Most
// rounds empty a host and hurt the fleet meanwhile; every fourth one is a user's:
// he moves a guest by hand or starts one a second time, while only what decides
// is hurt (manager, agents, their links), because under lost answers a plain
// `virsh migrate` doubles guests by itself. After each round the fleet is healed
// and has to come to rest: every guest runs once, where its claim says, defined
// there and nowhere else. What only a person can do is done by an operator's
// hand then ([runner.tidy]): start a guest whose QEMU was killed, discard a copy
// of which nobody knows whether it is the newest.
//
// # What is watched
//
// Never asked of vireo, and hardly of libvirt:
//
//   - each QEMU process of a guest and the CPU time of its virtual processor
//     ([eyes]). A paused one uses none at all; so "ran" is measured and not
//     believed. Once another copy of a guest has run, the one before it may never
//     run again ([judge.processes]).
//   - the beats that guests send, where they enter the switch: two senders, a
//     memory that goes back in time, a new boot that no fault explains, damage.
//   - the claims, which the manager is asked for all the while: epochs only
//     grow, one claim per guest, ambiguous only where a user made it so.
//
// A violation ends the run and prints its history.
//
// # Files
//
//	kind.go      what is done to a fleet
//	schedule.go  in which order
//	run.go       one run, from up to down
//	round.go     one round
//	inject*.go   how each fault is done
//	eyes.go      processes, as /proc shows them
//	judge.go     what must not be seen
//	watch.go     looks all the while and tells the judge
//	rest.go      what must be true when the faults are over
//	report.go    what is printed
package chaos
