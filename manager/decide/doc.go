// Package decide says what should happen: which host changes its state, which
// host must be emptied, and where each of its domains would go.
//
// It is pure. A Snapshot and a Policy go in, decisions with their reasons come
// out; the snapshot is stored as JSON beside the decision, so that every
// decision can be replayed. There is no clock here: now is an argument, and the
// times of a snapshot are only compared with it.
//
// What does not belong here: claims, orders, slots of running migrations (all
// package manager), and how a score is made (package pfa).
package decide
