// Package standstill waits until a process that was told to stop stands still.
// SIGSTOP is taken by one thread, which then stops the others: on a busy machine
// these can work on for milliseconds after the call that sent it has returned,
// long enough to write what a test believes nobody could write any more.
package standstill
