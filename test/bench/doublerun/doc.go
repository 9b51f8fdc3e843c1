// Command doublerun measures what becomes of a guest when the answer to the last
// step of its live migration is lost: moved by plain `virsh migrate`, by
// Pacemaker's VirtualDomain resource agent, and by vireo. `make bench-doublerun`
// runs it and prints a table.
//
// The fault is the same for all three: the target's libvirtd is stopped while
// the memory is on its way and goes on once the source has given up. Each try has
// a fresh lab of two hosts and one guest; libvirt gives up on a silent peer after
// 4 s there, not 30 s, which changes nothing but the waiting.
//
// Of Pacemaker the resource agent alone runs, by hand, as the cluster would call
// it: start, migrate_to on the source, then monitor on both hosts. What a whole
// cluster does next, when it finds a resource active on two nodes, is its setting
// multiple-active, by default stop_start: stop on both, and a start. That is done
// by hand as well, so that the guest is seen to boot anew.
package main
