package heartbeat

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// Port is the UDP port beats are sent to.
const Port = 7700

// Interval is the time between two beats of a healthy guest.
const Interval = 10 * time.Millisecond

// Resolution is the shortest gap that is recorded as one: two intervals.
const Resolution = 20 * time.Millisecond

// BeatSize is the length of an encoded beat in bytes.
const BeatSize = 64

// magic begins every beat; its last byte is the version of the layout (1: 2026-11).
var magic = [4]byte{'V', 'H', 'B', 1}

// errNotABeat is returned for anything that is not an encoded beat.
var errNotABeat = errors.New("not a heartbeat")

// Beat is one heartbeat of one guest.
type Beat struct {
	Guest         string // the guest's name, at most 12 bytes
	BootID        string // 32 hex digits, drawn anew at each boot of the guest
	Counter       uint64 // grows by one with each beat of a boot, from 1
	PatternErrors uint64 // words and pages of the guest's memory found wrong since its boot
	DirtiedPages  uint64 // pages the guest has written on purpose since its boot
	DiskErrors    uint64 // failed or wrong reads and writes on the guest's disk since its boot
}

// Encode returns the beat's 64 bytes. A name longer than 12 bytes is cut; a boot
// id that is not 32 hex digits is sent as zeros.
func (b Beat) Encode() []byte {
	buf := make([]byte, BeatSize)
	copy(buf[0:4], magic[:])
	copy(buf[4:16], b.Guest)
	if id, err := hex.DecodeString(b.BootID); err == nil && len(id) == 16 {
		copy(buf[16:32], id)
	}
	binary.BigEndian.PutUint64(buf[32:], b.Counter)
	binary.BigEndian.PutUint64(buf[40:], b.PatternErrors)
	binary.BigEndian.PutUint64(buf[48:], b.DirtiedPages)
	binary.BigEndian.PutUint64(buf[56:], b.DiskErrors)
	return buf
}

// Decode reads what Encode wrote.
func Decode(buf []byte) (Beat, error) {
	if len(buf) != BeatSize || !bytes.Equal(buf[0:4], magic[:]) {
		return Beat{}, errNotABeat
	}
	name, _, _ := bytes.Cut(buf[4:16], []byte{0})
	return Beat{
		Guest:         string(name),
		BootID:        hex.EncodeToString(buf[16:32]),
		Counter:       binary.BigEndian.Uint64(buf[32:]),
		PatternErrors: binary.BigEndian.Uint64(buf[40:]),
		DirtiedPages:  binary.BigEndian.Uint64(buf[48:]),
		DiskErrors:    binary.BigEndian.Uint64(buf[56:]),
	}, nil
}
