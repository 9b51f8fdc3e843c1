// Package standstill stops processes with SIGSTOP, and waits until they stand still.
// The signal is taken by one thread, which then stops the others: on a busy machine
// these can work on for milliseconds after the call that sent it has returned,
// long enough to write what a test believes nobody could write any more.
package standstill
