// Package several holds the end-to-end tests of several managers on etcd, on a lab
// of their own: the leader killed, stopped, cut off, and etcd without a minority
// and without a majority of its nodes. Build tag e2e; root.
package several
