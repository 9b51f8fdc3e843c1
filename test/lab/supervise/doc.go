// Package supervise is what systemd is on a real host, as far as the lab needs
// it: the first process of a pid namespace starts services, starts them again one
// second after they end, and takes the exit of every orphan.
//
// A [Supervisor] owns its services in one goroutine ([Supervisor.Run]) and is
// told what to do over a Unix socket by a [Client]: start, stop, list. Sending
// signals is left to whoever wants to hurt a service: its pid is in the list.
package supervise
