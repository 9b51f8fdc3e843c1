package configs

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, zero or longer, written as Go writes it: "300ms", "10s", "1h30m".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText writes the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String gives the shortest form: "10m", not "10m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (*Duration) expected() string { return `a duration such as "10s" or "5m"` }

// Size is a number of bytes, written with a unit: "512B", "128MiB", "2GiB", "4TB".
type Size uint64

var sizeUnits = []unit{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := parseQuantity(string(text), sizeUnits)
	*s = Size(n)
	return err
}

// MarshalText writes the size as UnmarshalText reads it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String gives the unit with the smallest whole number.
func (s Size) String() string { return formatQuantity(uint64(s), sizeUnits) }

func (*Size) expected() string { return `a size such as "128MiB" or "2GiB"` }

// Bandwidth is a number of bits per second, written with a unit: "1Gbit/s", "100Mbit/s", "125MB/s", "64MiB/s".
// Zero means no limit and is written "unlimited".
type Bandwidth uint64

var bandwidthUnits = []unit{
	{"GiB/s", 8 << 30}, {"MiB/s", 8 << 20}, {"KiB/s", 8 << 10}, {"GB/s", 8e9}, {"MB/s", 8e6}, {"kB/s", 8e3}, {"B/s", 8},
	{"Tbit/s", 1e12}, {"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1},
}

const unlimited = "unlimited"

// UnmarshalText reads a bandwidth.
func (b *Bandwidth) UnmarshalText(text []byte) error {
	if string(text) == unlimited {
		*b = 0
		return nil
	}
	n, err := parseQuantity(string(text), bandwidthUnits)
	if err == nil && n == 0 {
		err = fmt.Errorf("no data at all can pass at %q; write %q for no limit", text, unlimited)
	}
	*b = Bandwidth(n)
	return err
}

// MarshalText writes the bandwidth as UnmarshalText reads it.
func (b Bandwidth) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String gives "unlimited", or the unit with the smallest whole number.
func (b Bandwidth) String() string {
	if b == 0 {
		return unlimited
	}
	return formatQuantity(uint64(b), bandwidthUnits)
}

// BytesPerSecond gives the bandwidth as moves and plans count it: rounded down but at least 1, and 0 for no limit.
func (b Bandwidth) BytesPerSecond() uint64 {
	if b == 0 {
		return 0
	}
	return max(1, uint64(b)/8)
}

func (*Bandwidth) expected() string {
	return `a bandwidth such as "1Gbit/s" or "125MB/s", or "unlimited"`
}

type unit struct {
	name  string
	value uint64
}

var quantity = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([A-Za-z/]+)$`)

// parseQuantity reads a number and one of the units, exactly: 0.1 of a unit that is not divisible by ten is an error,
// as is anything above 2^63-1, the most that SQLite and libvirt take.
func parseQuantity(text string, units []unit) (uint64, error) {
	parts := quantity.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is not a number with a unit", text)
	}
	i := slices.IndexFunc(units, func(u unit) bool { return u.name == parts[2] })
	if i < 0 {
		return 0, fmt.Errorf("%q has no known unit", text)
	}
	value, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return 0, fmt.Errorf("%q is not a number with a unit", text)
	}
	value.Mul(value, new(big.Rat).SetFrac(new(big.Int).SetUint64(units[i].value), big.NewInt(1)))
	if !value.IsInt() || value.Num().Cmp(big.NewInt(math.MaxInt64)) > 0 {
		return 0, fmt.Errorf("%q is not a whole number below 2^63", text)
	}
	return value.Num().Uint64(), nil
}

// formatQuantity uses the unit that gives the smallest whole number.
func formatQuantity(n uint64, units []unit) string {
	best := units[len(units)-1]
	for _, u := range units {
		if n%u.value == 0 && n/u.value > 0 && n/u.value < n/best.value {
			best = u
		}
	}
	return strconv.FormatUint(n/best.value, 10) + best.name
}

// URLs are one or more addresses; one alone may be written without brackets.
type URLs []string

// String gives them for people, separated by commas.
func (u URLs) String() string { return strings.Join(u, ", ") }
