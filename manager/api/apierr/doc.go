// Package apierr is how the manager says no: one type that the manager's rooms
// return, that crosses the wire as a Connect error with a Refusal as its detail,
// and that programs and the CLI find again on the other side.
//
// Texts are for people and may change; the kind and who refused are not.
package apierr
