// Package leader is how a manager that does not lead says who does: a header of
// its refusal, the same for agents, operators and curl.
package leader
