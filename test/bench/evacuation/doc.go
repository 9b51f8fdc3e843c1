// Command evacuation measures vireo's evacuation beside its peer, bare
// concurrent `virsh migrate --live --p2p`, in one run on one machine, and
// prints the medians as JSON. `make bench-evacuation` runs it.
//
// Each round makes two fresh two-host labs with the same four guests on h1: one
// without vireo, from which virsh moves them, and one with it. So both sides
// begin from the same state and a drift of the machine's speed hits both.
package main
