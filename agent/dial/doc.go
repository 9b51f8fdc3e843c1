// Package dial is the agent's way to the manager: enrolment with a join token,
// and the session, a stream in both directions over HTTP/2 and mutually
// authenticated TLS. The agent dials; a hypervisor opens no port for it.
//
// It carries messages and understands none of them. What is said in a session
// is package agent's.
package dial
