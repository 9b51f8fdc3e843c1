package receiver

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/vireo-kvm/vireo/test/heartbeat"
)

// packet is an IPv4 packet of UDP around a payload, with so many bytes of options.
func packet(payload []byte, options int) []byte {
	header := 20 + options
	p := make([]byte, header+8)
	p[0] = 4<<4 | byte(header/4)
	p[9] = 17
	binary.BigEndian.PutUint16(p[2:], uint16(header+8+len(payload)))
	binary.BigEndian.PutUint16(p[header+2:], heartbeat.Port)
	return append(p, payload...)
}

func TestABeatIsTakenOutOfItsPacket(t *testing.T) {
	beat := heartbeat.Beat{Guest: "g1", BootID: strings.Repeat("5a", 16), Counter: 3}
	good := packet(beat.Encode(), 0)
	for name, p := range map[string][]byte{
		"plain":                     good,
		"with IP options":           packet(beat.Encode(), 8),
		"padded to Ethernet's size": append(slices.Clone(good), 0, 0, 0, 0),
	} {
		if got, err := decodePacket(p); err != nil || got != beat {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	tooLong := slices.Clone(good)
	binary.BigEndian.PutUint16(tooLong[2:], uint16(len(good)+1))
	tooShort := slices.Clone(good)
	binary.BigEndian.PutUint16(tooShort[2:], 10)
	for name, p := range map[string][]byte{
		"empty": nil, "half a header": good[:10], "cut off": good[:50], "a length beyond the packet": tooLong, "a length within the header": tooShort,
		"something else": packet([]byte("hello"), 0),
	} {
		if got, err := decodePacket(p); err == nil {
			t.Errorf("%s was taken for %+v", name, got)
		}
	}
}

func TestAPacketWithoutTimeStampIsNow(t *testing.T) {
	if at := kernelTime(nil); at.IsZero() || at.Year() < 2020 {
		t.Errorf("got %v", at)
	}
}
