// Package etcd keeps the store in etcd, so that several managers can run: one of
// them leads, and only the leader writes.
//
// # Keys
//
// Each record is one key below the prefix, its value JSON (records.go, keys.go).
// One more key, head, holds who leads (generation, term, instance) and the
// counters of epochs and events. Every transaction replaces head, and happens
// only if head still has the revision that the leader knows, and if the leader's
// key in the election still exists: so a leader that was overtaken, or whose
// lease has ended, writes nothing, and epochs come from one counter.
//
// # Memory
//
// The leader keeps all records in memory, as one immutable tree. As nobody else
// writes while head stands, the tree is whole exactly if a transaction on top of
// it succeeds: an Update reads from memory and costs one round trip, that of its
// commit. A View asks etcd whether this manager still leads before it reads the
// tree: one round trip, and never an old answer. The evidence of decisions is
// read when it is asked for.
//
// # Large updates
//
// etcd takes at most 128 operations and 1.5 MiB in a request. An Update that
// needs more is written as a whole into parts under staged/ first, which nobody
// reads; the transaction that writes the last part says in head how many there
// are: with it the Update has happened, all of it. Then the changes are put in
// their places, as many transactions as it takes, and head forgets the parts. Who
// finds parts named in head, after a crash, reads them over everything else and
// finishes the work before it writes anything.
//
// # Uncertainty
//
// A commit whose answer is lost is repeated until etcd answers: head's revision
// lets it happen once, and head's serial tells whether it did. That ends with
// the leader's lease: then it is left open, and whoever leads next reads what is
// true.
//
// # The election
//
// Client.Campaign waits in an election of client/v3/concurrency and raises the
// term in the transaction that needs the won key. A lease is counted from before
// the request that renewed it was sent, on this machine's monotonic clock: DB.Leads
// is false before etcd gives the lead to another.
package etcd
