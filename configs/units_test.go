package configs

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]struct {
		value   time.Duration
		written string
	}{
		"0s":    {0, "0s"},
		"300ms": {300 * time.Millisecond, "300ms"},
		"10s":   {10 * time.Second, "10s"},
		"600s":  {10 * time.Minute, "10m"},
		"1h":    {time.Hour, "1h"},
		"1h30m": {90 * time.Minute, "1h30m"},
		"1h10s": {time.Hour + 10*time.Second, "1h0m10s"},
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want.value || d.String() != want.written {
			t.Errorf("%s: got %v, written %s, %v", text, time.Duration(d), d, err)
		}
	}
	for _, text := range []string{"", "10", "-1s", "1 hour", "s"} {
		if err := new(Duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]struct {
		value   uint64
		written string
	}{
		"0B":      {0, "0B"},
		"512B":    {512, "512B"},
		"128MiB":  {128 << 20, "128MiB"},
		"128 MiB": {128 << 20, "128MiB"},
		"0.5GiB":  {512 << 20, "512MiB"},
		"1024MiB": {1 << 30, "1GiB"},
		"4TB":     {4e12, "4TB"},
		"1.5kB":   {1500, "1500B"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || uint64(s) != want.value || s.String() != want.written {
			t.Errorf("%s: got %d, written %s, %v", text, s, s, err)
		}
	}
	for _, text := range []string{"", "128", "MiB", "-1MiB", "1e3MiB", "128mib", "1Gbit/s", "0.1B", "8388608TiB", "99999999999999999999B", "1.MiB"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]struct {
		value, bytes uint64
		written      string
	}{
		"unlimited": {0, 0, "unlimited"},
		"1Gbit/s":   {1e9, 125e6, "1Gbit/s"},
		"2.5Gbit/s": {2.5e9, 312.5e6, "2500Mbit/s"},
		"125MB/s":   {1e9, 125e6, "1Gbit/s"},
		"64MiB/s":   {64 * 8 << 20, 64 << 20, "64MiB/s"},
		"1kbit/s":   {1000, 125, "1kbit/s"},
		"1bit/s":    {1, 1, "1bit/s"},
	} {
		var b Bandwidth
		if err := b.UnmarshalText([]byte(text)); err != nil || uint64(b) != want.value || b.BytesPerSecond() != want.bytes {
			t.Errorf("%s: got %d bit/s, %d B/s, %v", text, uint64(b), b.BytesPerSecond(), err)
		}
		if b.String() != want.written {
			t.Errorf("%s is written %s, want %s", text, b, want.written)
		}
		var again Bandwidth
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s, written %s, is read back as %d, %v", text, b, uint64(again), err)
		}
	}
	for _, text := range []string{"", "0", "0bit/s", "1Gbit", "1GiB", "-1bit/s"} {
		if err := new(Bandwidth).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q accepted", text)
		}
	}
}
