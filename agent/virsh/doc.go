// Package virsh runs the host's own virsh for operators who want to see what
// virsh says there: read-only, a handful of commands, every argument checked.
package virsh
