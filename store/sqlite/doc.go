// Package sqlite keeps the store in one SQLite file: the engine that needs
// nothing beside it.
//
// One connection writes, several read; each is a session that keeps its prepared
// statements. The write-ahead log lets readers go on while a transaction is
// written, and every commit is synchronised to the disk before Update returns
// (synchronous=FULL), because a claim that an agent was told of must survive a
// power cut.
//
// Two managers never share a file. Three things see to it: a lock file beside
// the database, held as long as it is open and given back by the kernel when the
// process dies; the term, raised by every opening; and the opening's random
// instance id, which every Update compares within its transaction, for when the
// lock file was removed or did not work (network file systems).
//
// The schema is made of numbered steps in schema/, applied in order and never
// edited once released: a change is a new step. The file's user_version is the
// number of the last one; a file with a higher number is refused.
package sqlite
