// Package architecture holds the rules of the house that a compiler does not: which package may import which, that
// clock, network and processes enter at the edges only, that every package says what it is, what may stand at the top of
// the tree, and how large a file or a struct may grow.
//
// Each rule is a function from a tree to the places that break it. It is tried on this repository, where it must find
// nothing, and on a tiny tree in testdata, where it must find exactly what is planted there.
//
// The package has no code besides tests.
package architecture
