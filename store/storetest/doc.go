// Package storetest is the conformance suite of package store: what every engine
// must do, on the real thing. Run tests a store.Store, RunReadings a
// store.Readings.
package storetest
