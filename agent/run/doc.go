// Package run starts the few programs that an agent may start: smartctl,
// ipmitool and a read-only virsh. Each run has a deadline, a limit on its
// output, and a process group that is killed as a whole. A program that does
// not even die (a drive that answers nobody keeps smartctl in the kernel) is
// left alone and not started again with the same arguments while it lives.
package run
