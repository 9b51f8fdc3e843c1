package signal

// Signals of the operating system: processors, memory, pressure, disk and
// network as the kernel counts them.

var osSignals = []Signal{}
