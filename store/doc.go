// Package store is the durable truth of the manager: which hosts there are,
// which host may run which domain, every move, every decision with the evidence
// it was made on, and what happened.
//
// The package holds the types, the errors and the contract. store/sqlite is the
// engine that needs nothing beside it, store/storetest the conformance suite
// that every engine passes.
//
// Two contracts, because they may live in two places: Store is shared by all
// managers of a fleet and fenced by their term; Readings are what one manager
// has received and what its model made of it, and stay on its own disk.
//
// Nothing here reads a clock: every time is an argument. Times are kept to the
// nanosecond in UTC; the zero time stays zero. A value of the zero type means
// "none" everywhere.
//
// What does not belong here: policy. The store does not know what a risky host
// is, when a claim may be given, or when a move ends; it keeps what the manager
// decided, atomically, and refuses what is older than what it has.
package store
