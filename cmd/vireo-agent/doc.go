// Command vireo-agent is a hypervisor's agent: it reports what is true on its
// host and carries out the manager's orders. This package holds flags, wiring,
// checks and exit codes; the agent itself is package agent.
package main
