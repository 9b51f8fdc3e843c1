// Command vireo is the operator's command line: it shows what the manager
// knows and why it decided, gives orders, and trains and questions prediction
// models without a manager.
package main
