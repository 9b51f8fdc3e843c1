// Package serve is the manager's door: one HTTPS port for agents, operators,
// programs and Prometheus, and a socket for root on the manager's own machine.
// It finds out who calls, enforces what each may call, and hands the rest to the
// manager's core through two small interfaces: Agents (below) and the generated
// managerv1connect.ManagerServiceHandler.
//
// What does not belong here: anything that decides. A handler that needs an "if"
// about hosts, claims or moves is in the wrong room.
//
// The package opens nothing itself: listeners, certificates and the clock are
// passed in.
package serve
