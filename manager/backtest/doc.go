// Package backtest replays what a store has kept of a fleet, day by day, through
// a model and thresholds: what would have been moved, when, at what cost, and
// what came of it. It decides with the code that decides in service.
package backtest
