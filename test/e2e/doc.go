// Package e2e holds what only a whole fleet can show: real libvirtds, real
// guests, and vireo's programs as an operator runs them. Its tests have the
// build tag e2e, need root, and share one lab, which they leave as they found it.
package e2e
