// Package moves is how every engine of the store writes the parts of a move
// that no query asks for: JSON under names that never change.
package moves
