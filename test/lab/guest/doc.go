//go:build linux

// Command guest is what runs inside a guest of the lab: it sends a heartbeat
// every 10 ms and looks after a pattern in its memory and on its disk, so that
// what a migration did to the guest can be seen from outside.
//
// It is started by the initramfs's init script with its settings as flags and
// never ends; anything it cannot do is printed on the console and ends the
// guest, because a guest that is half alive would be measured wrong.
package main
