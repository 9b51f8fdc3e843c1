// Package help arranges the commands of a program's --help under headings.
package help
