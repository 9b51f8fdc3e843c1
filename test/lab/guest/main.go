//go:build linux

package main

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/heartbeat"
)

func main() {
	var (
		name     = flag.String("name", "", "the guest's name")
		to       = flag.String("to", "", "IPv4 address of the heartbeat receiver")
		pattern  = flag.Int("pattern", 8, "MiB of memory that hold the pattern")
		dirtyMiB = flag.Int("dirty-mem", 0, "MiB of memory that are written over and over")
		rate     = flag.Int("dirty-rate", 0, "MiB per second written to it")
		disk     = flag.String("disk", "", "block device whose last sector is written and read back once a second")
	)
	flag.Parse()
	if err := run(*name, *to, *pattern, *dirtyMiB, *rate, *disk); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func run(name, to string, pattern, dirtyMiB, rate int, disk string) error {
	ip, err := netip.ParseAddr(to)
	if err != nil || !ip.Is4() {
		return fmt.Errorf("receiver %q is not an IPv4 address", to)
	}
	id := make([]byte, 16)
	if _, err := unix.Getrandom(id, 0); err != nil {
		return fmt.Errorf("draw a boot id: %w", err)
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("socket for heartbeats: %w", err)
	}
	dest := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bits.ReverseBytes16(heartbeat.Port), Addr: ip.As4()} // the port in network order
	mem, err := newMemory(pattern)
	if err != nil {
		return err
	}
	tlb, err := newFlusher()
	if err != nil {
		return err
	}
	dirt, err := newDirt(dirtyMiB, rate)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(2) // the loop keeps one for itself, see syscalls.go
	var disks diskCheck
	if disk != "" {
		go disks.run(disk, id)
	}

	beat := heartbeat.Beat{Guest: name, BootID: hex.EncodeToString(id)}
	fmt.Printf("guest %s: boot %s, beating to %s\n", name, beat.BootID, to)
	// The loop sleeps to absolute times of the guest's own clock: a guest that
	// was stopped and goes on has one long interval and no burst of beats after.
	var wrong uint64
	next := monotonic()
	for {
		tlb.flush()
		beat.Counter++
		wrong += mem.check()
		beat.PatternErrors = wrong + dirt.wrong
		beat.DirtiedPages = dirt.pages
		beat.DiskErrors = disks.errors.Load()
		send(sock, beat.Encode(), &dest)

		next += heartbeat.Interval
		if now := monotonic(); now > next {
			next = now
		}
		dirt.until(next)
		sleepUntil(next)
	}
}
