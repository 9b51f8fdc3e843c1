//go:build linux

package main

import (
	"errors"
	"math/bits"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProtect(t *testing.T) {
	region, err := anonymous(1)
	if err != nil {
		t.Fatal(err)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	protect(region, unix.PROT_READ)
	if _, err := zero.Read(region); !errors.Is(err, unix.EFAULT) {
		t.Errorf("writing to what may only be read: %v, expected EFAULT", err)
	}
	protect(region, unix.PROT_READ|unix.PROT_WRITE)
	if _, err := zero.Read(region); err != nil {
		t.Errorf("writing to what may be written: %v", err)
	}
}

func TestSleepUntil(t *testing.T) {
	want := monotonic() + 20*time.Millisecond
	sleepUntil(want)
	if now := monotonic(); now < want {
		t.Errorf("awake at %s, expected not before %s", now, want)
	}
}

func TestSend(t *testing.T) {
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	port := uint16(l.LocalAddr().(*net.UDPAddr).Port)
	send(sock, []byte("beat"), &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bits.ReverseBytes16(port), Addr: [4]byte{127, 0, 0, 1}})
	if err := l.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 16)
	n, err := l.Read(got)
	if err != nil || string(got[:n]) != "beat" {
		t.Errorf("heard %q, %v, expected \"beat\"", got[:n], err)
	}
}
