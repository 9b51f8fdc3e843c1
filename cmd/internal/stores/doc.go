// Package stores opens the stores that a manager's configuration names, for the
// programs that do.
package stores
