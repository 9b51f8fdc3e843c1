package etcd

import (
	"strings"

	"github.com/google/btree"
)

// head is the one record that every transaction replaces: who leads, and the
// counters. That its revision is the one that the leader knows is what fences
// each transaction, and proves that the leader's copy in memory is whole.
type head struct {
	Format     int    `json:"format"` // of everything below the prefix
	Store      string `json:"store"`  // random, of this store
	Generation uint64 `json:"generation"`
	Term       uint64 `json:"term"`
	Instance   string `json:"instance"`         // of the leader that wrote it
	Leader     string `json:"leader,omitempty"` // where that one is reached
	Serial     uint64 `json:"serial"`           // counts the instance's transactions
	Epoch      uint64 `json:"epoch"`            // the last one given out
	Event      uint64 `json:"event"`            // the last id given out
	Staged     int    `json:"staged,omitempty"` // that many parts under staged/ hold, and have yet to be put in their places
}

// item is one stored record in memory. Values are never changed in place.
type item struct {
	key   string
	value []byte
}

// state is everything after one transaction. It is never changed: the next one is made
// from a clone of the tree, which shares what did not change.
type state struct {
	head head
	tree *btree.BTreeG[item]
}

func newTree() *btree.BTreeG[item] {
	return btree.NewG(32, func(a, b item) bool { return a.key < b.key })
}

// change is what a transaction does to one key; a nil value deletes it.
type change struct {
	key   string
	value []byte
}

func apply(tree *btree.BTreeG[item], changes []change) {
	for _, c := range changes {
		switch {
		case !kept(c.key):
		case c.value == nil:
			tree.Delete(item{key: c.key})
		default:
			tree.ReplaceOrInsert(item(c))
		}
	}
}

// each calls f for every key that begins so, in order, until f returns false.
func each(tree *btree.BTreeG[item], prefix string, f func(item) bool) {
	tree.AscendGreaterOrEqual(item{key: prefix}, func(i item) bool {
		return strings.HasPrefix(i.key, prefix) && f(i)
	})
}
