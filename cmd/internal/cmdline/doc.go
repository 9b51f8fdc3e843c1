// Package cmdline is what the command lines of vireo's programs have in common:
// headings in --help, flags in any place, and refusals that name what there is.
package cmdline
