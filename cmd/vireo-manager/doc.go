// Command vireo-manager is the control plane: it takes what the hosts' agents
// report, predicts which host is going to fail, and moves the guests away. This
// package holds flags, wiring and exit codes; the manager itself is package
// manager behind manager/serve.
package main
