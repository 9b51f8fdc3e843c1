// Package etcdtest runs real etcd servers for tests, on free ports of the loopback
// interface and in directories that go with the test: one node or a cluster,
// plain or with TLS. A node can be killed, frozen, started again, and cut off
// from the others or from a client.
package etcdtest
