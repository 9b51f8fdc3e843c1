// Package linear looks at the store from outside: many clients grant, move, release
// and read claims at once while managers restart, are cut off and etcd's nodes die,
// and what each of them was told is held against one claim that changes at one
// moment per operation (linearizability, by github.com/anishathalye/porcupine).
//
// An operation whose outcome its client was not told may have happened or not, at
// any moment from its beginning on.
package linear
