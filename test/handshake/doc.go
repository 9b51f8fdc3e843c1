// Package handshake tries the two doors against each other: manager/serve and
// agent/dial over real TLS on the loopback interface, in one process. It holds
// tests only.
package handshake
