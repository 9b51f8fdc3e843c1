// Package hostinit is the first process of a namespace of the lab: a host, the
// manager's machine, or the switch with its storage.
//
// [Start] makes the process in new mount, UTS and pid namespaces inside a network
// namespace that exists. It holds still until it is told to go on, so that its
// maker can write down that it exists before it does anything ([Process.Go]).
// [Main] is what it then does: give itself a machine's view of the file system
// ([Spec]) and supervise the machine's services.
//
// A machine sees the same programs and libraries as the real one. Its own are:
// /etc and /var (on a small tmpfs of its own that outlives a crash), /run, /dev
// (without /dev/kvm) and /proc and /sys (new at each boot), host name, machine id
// and boot id.
package hostinit
