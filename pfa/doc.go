// Package pfa predicts failures: readings in, a calibrated and explained
// failure risk score out.
//
// The way of one reading: State.Observe keeps what matters of it in a few
// hundred bytes per signal, Model.Score turns a state at a time into a Verdict
// (the probability, in percent, that the component fails within 24 hours, 7 and
// 30 days, with an interval, reasons and hard evidence), and HostRisk says what
// the verdicts of a host's components mean for its guests.
//
// The package is pure: no clock, no goroutine outside training, no file but the
// readers and writers it is handed. Time is an argument everywhere. Training
// runs through the same State as scoring, so that a feature cannot mean one
// thing in training and another in production.
//
// DESIGN.md beside this file says how the model is made and what it cannot do;
// MODELCARD.md is the report of the shipped model's training.
package pfa
