// Package demo is the story that `make demo` tells and that an end-to-end test
// holds to its word: a recorded drive dies again, day by day, under one host of
// a lab fleet, a healthy drive of the same model lives under another, and the
// first host's guests are elsewhere before the recorded failure.
//
// It talks to the fleet as an operator would: through vireo's commands, with
// the default thresholds. Nothing in it knows what vireo will decide.
package demo
