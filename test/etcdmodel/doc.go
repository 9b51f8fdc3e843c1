// Package etcdmodel is the store of several managers without an etcd: one shared
// truth in memory, and a handle for each manager that has won the election. It
// keeps the contract of package store as store/etcd does (the conformance suite
// runs on both) and has neither goroutines nor a clock: leases end, requests are
// lost and answers stay away when whoever drives it says so. That makes it fit for
// a simulator, where the same calls have to give the same results each time.
//
// What it models is what a manager can notice of store/etcd:
//
//   - The term is raised in the transaction that takes the lead. Every write needs the
//     key of the won election and a head that nobody else has written since; every
//     View asks etcd who leads before it answers.
//   - A leader that was overtaken, or whose lease has ended at etcd, writes and reads
//     nothing: store.ErrFenced.
//   - A request is repeated until it is answered or the lease is over. So a handle that
//     is cut off fails once, with an error that leaves open whether the commit has
//     happened, and has lost the lead by then. When only the answers were lost it
//     has happened.
//
// What it does not have: the limits of a request and what is staged because of them
// (a large Update counts at once, or not at all, there as well), the memory of which
// etcd a manager has worked with, compaction, a full etcd, and etcd's own nodes.
package etcdmodel
