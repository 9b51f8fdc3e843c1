//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// diskCheck writes one block of a disk and reads it back, once a second, past the page cache.
type diskCheck struct {
	errors atomic.Uint64 // failed or wrong writes and reads
}

const block = 4096

// run never returns. A disk that cannot be opened counts an error each second.
func (d *diskCheck) run(path string, id []byte) {
	buf, err := unix.Mmap(-1, 0, 2*block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) // O_DIRECT wants it aligned
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest: buffer for the disk:", err)
		d.errors.Add(1)
		return
	}
	out, in := buf[:block], buf[block:]
	for n := uint64(1); ; n++ {
		copy(out, id)
		binary.BigEndian.PutUint64(out[16:], n)
		if err := writeAndRead(path, out, in); err != nil || !bytes.Equal(in, out) {
			fmt.Fprintln(os.Stderr, "guest: disk wrong:", err)
			d.errors.Add(1)
		}
		time.Sleep(time.Second)
	}
}

// writeAndRead writes out to the last block of the device and reads it into in.
func writeAndRead(path string, out, in []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	at := size/block*block - block
	if _, err := f.WriteAt(out, at); err != nil {
		return err
	}
	_, err = f.ReadAt(in, at)
	return err
}
