// Package receiver takes the guests' heartbeats from the lab's switch, keeps a
// [heartbeat.Tracker], and serves what it knows on a Unix socket ([Client]).
//
// It needs CAP_NET_RAW in the network namespace of the switch. Nothing here
// judges a beat: that is the tracker's business, which is tested without sockets.
package receiver
