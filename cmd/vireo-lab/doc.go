// Command vireo-lab makes a fleet of KVM hosts on one machine and hurts it on
// request: for the demo, the tests, the benchmarks, and for whoever wants to see
// vireo work. One file per subcommand; all of them are thin over package lab.
package main
