// Package ledger holds a model to what it said: each warning and each failure
// of the operator's own fleet becomes a hit, a false alarm, a missed failure,
// or a warning whose truth nobody will know because it was acted upon.
//
// What a model said comes from the manager's store; what became of a component
// is marked by the operator, in a file of one JSON object a line that only
// grows. The package is pure: both come as values, and so does the time.
package ledger
