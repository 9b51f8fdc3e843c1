//go:build linux

package main

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the beat's loop go to the kernel without a word to Go's
// scheduler. Otherwise each of them that waits makes the scheduler take the
// processor away from the loop, and its monitor look after that every 20 µs:
// dozens of timers and switches per beat, which cost an emulated guest more
// than all it does.
//
// Their errors are not looked at: the clock is there, a mapping is one's own,
// and a beat may be lost.

// monotonic returns the time since the guest's boot.
func monotonic() time.Duration {
	var ts unix.Timespec
	unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

func sleepUntil(t time.Duration) {
	ts := unix.NsecToTimespec(int64(t))
	for {
		_, _, err := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if err != unix.EINTR {
			return
		}
	}
}

// send sends a datagram. A full queue or a network that is not up yet loses it.
func send(sock int, b []byte, to *unix.RawSockaddrInet4) {
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(sock), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrInet4)
	runtime.KeepAlive(b)
}

// protect changes what may be done with a part of a mapping of one's own.
func protect(region []byte, prot int) {
	unix.RawSyscall(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(unsafe.SliceData(region))), uintptr(len(region)), uintptr(prot))
}
