// Package store measures what the store adds to the engine under it, in Go
// benchmarks that print ratios: make bench-store. The directory TMPDIR names is
// the disk that is measured.
package store
