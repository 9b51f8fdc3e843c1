// Package labtest is a lab in the hands of the end-to-end tests: what fails ends the
// test, and tells the fleet's story.
package labtest
