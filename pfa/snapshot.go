package pfa

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A snapshot is one byte of version, then little-endian: component, model,
// firmware, protocol and the latest verdict's words (each a length and bytes), the
// newest time, and the series, each led by its place in tracked. Buckets are
// written sparsely, most are zero.
//
// 2026-11-23: version 1.
const snapshotVersion = 1

// MaxStateBytes bounds a snapshot.
const MaxStateBytes = 16 << 10

// Snapshot returns the state as bytes, for keeping across a restart. The same
// state gives the same bytes.
func (s *State) Snapshot() []byte {
	le := binary.LittleEndian
	out := make([]byte, 0, 256+64*len(s.series))
	out = append(out, snapshotVersion)
	for _, text := range []string{s.component, s.model, s.firmware, s.protocol, s.words} {
		out = le.AppendUint16(out, uint16(len(text)))
		out = append(out, text...)
	}
	out = append(out, bit(s.some))
	out = le.AppendUint64(out, uint64(s.latest))
	out = append(out, byte(len(s.series)))
	for i := range s.series {
		sr := &s.series[i]
		var up increases
		if sr.up != nil {
			up = *sr.up
		}
		out = append(out, byte(sr.signal))
		for _, f := range []float64{sr.level, sr.high, sr.before} {
			out = le.AppendUint64(out, math.Float64bits(f))
		}
		for _, t := range []Axis{sr.first, sr.seen, sr.since, sr.rose, sr.began, up.last} {
			out = le.AppendUint64(out, uint64(t))
		}
		out = le.AppendUint64(out, sr.boot)
		out = append(out, bit(sr.risen), bit(up.some))
		at := len(out)
		out = append(out, 0)
		for b, x := range up.bucket {
			if x != 0 {
				out = append(out, byte(b))
				out = le.AppendUint32(out, math.Float32bits(x))
				out[at]++
			}
		}
	}
	return out
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errSnapshot = errors.New("state snapshot is damaged")

// Restore reads a snapshot.
func Restore(b []byte) (*State, error) {
	if len(b) > MaxStateBytes {
		return nil, fmt.Errorf("state snapshot of %d bytes: more than %d", len(b), MaxStateBytes)
	}
	r := snapshotReader{b: b}
	if v := r.byte(); v != snapshotVersion {
		return nil, fmt.Errorf("state snapshot version %d, this program reads %d", v, snapshotVersion)
	}
	s := NewState(r.text(maxComponent))
	s.setModel(r.text(maxWords))
	s.firmware, s.protocol, s.words = r.text(maxWords), r.text(maxWords), r.text(maxWords)
	s.some, s.latest = r.bool(), r.axis()
	count := int(r.byte())
	for range count {
		var sr series
		var up increases
		sr.signal = int(r.byte())
		if r.bad || sr.signal >= len(tracked) || s.place[sr.signal] != 0 {
			return nil, errSnapshot
		}
		for _, f := range []*float64{&sr.level, &sr.high, &sr.before} {
			*f = r.float()
		}
		for _, t := range []*Axis{&sr.first, &sr.seen, &sr.since, &sr.rose, &sr.began, &up.last} {
			*t = r.axis()
		}
		sr.boot = r.uint64()
		sr.risen, up.some = r.bool(), r.bool()
		buckets, after := int(r.byte()), -1
		for range buckets {
			i := int(r.byte())
			x := math.Float32frombits(r.uint32())
			if i <= after || i >= bucketCount || !(x > 0 && x <= math.MaxFloat32) {
				return nil, errSnapshot
			}
			up.bucket[i], after = x, i
		}
		if up != (increases{}) {
			sr.up = &up
		}
		s.series = append(s.series, sr)
		s.place[sr.signal] = uint8(len(s.series))
	}
	if r.bad || len(r.b) != 0 || !slices.Equal(s.Snapshot(), b) {
		return nil, errSnapshot
	}
	return s, nil
}

// maxComponent bounds a component's name in bytes.
const maxComponent = 256

// snapshotReader reads forward and remembers that something was wrong.
type snapshotReader struct {
	b   []byte
	bad bool
}

func (r *snapshotReader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *snapshotReader) byte() byte     { return r.take(1)[0] }
func (r *snapshotReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *snapshotReader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *snapshotReader) bool() bool {
	v := r.byte()
	r.bad = r.bad || v > 1
	return v == 1
}

// maxAxis keeps sums and differences of times far from overflow.
const maxAxis = 1 << 40

func (r *snapshotReader) axis() Axis {
	v := Axis(r.uint64())
	if v < -maxAxis || v > maxAxis {
		r.bad = true
		return 0
	}
	return v
}

func (r *snapshotReader) float() float64 {
	v := math.Float64frombits(r.uint64())
	if math.IsNaN(v) || math.IsInf(v, 0) {
		r.bad = true
	}
	return v
}

func (r *snapshotReader) text(limit int) string {
	n := int(binary.LittleEndian.Uint16(r.take(2)))
	if n > limit {
		r.bad = true
		return ""
	}
	return string(r.take(n))
}
