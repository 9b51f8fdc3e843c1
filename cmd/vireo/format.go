package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/pfa"
)

// jsonFlag stands on every command that reads.
func jsonFlag() *cli.BoolFlag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

func marshal(m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
}

// printJSON prints a message over several lines.
func (p *program) printJSON(m proto.Message) error {
	b, err := marshal(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer // protojson's own spacing is random on purpose
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, out.String())
	return err
}

// printJSONLine prints a message on one line, for streams.
func (p *program) printJSONLine(m proto.Message) error {
	b, err := marshal(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.out, out.String())
	return err
}

// timeOf is a stamp's time; zero when there is none.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// stamp is a time for people: in full, UTC.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05Z")
}

// ago says how long a time has passed: "3m".
func (p *program) ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return short(max(0, p.now().Sub(t.AsTime())))
}

// short is a duration with one or two digits of the unit that fits: "850ms",
// "12s", "3m", "5h", "12d".
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// millis is a duration in milliseconds: downtimes are compared.
func millis(d *durationpb.Duration) string {
	return fmt.Sprintf("%d ms", d.AsDuration().Round(time.Millisecond).Milliseconds())
}

// size is a number of bytes in binary units.
func size(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if value == float64(uint64(value)) || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// scored says whether anybody computed a score: a 0 % without a grade is the
// absence of one.
func scored(s *managerv1.Score) bool {
	return s.GetAt() != nil && (s.GetGrade() != "" || s.GetP30D() > 0)
}

// chance is one probability of a score, in a cell.
func chance(s *managerv1.Score, percent float64) string {
	if !scored(s) {
		return "-"
	}
	return pfa.Percent(percent)
}

// risk is a score in one cell.
func risk(s *managerv1.Score) string {
	switch text := chance(s, s.GetP30D()); {
	case !s.GetHard():
		return text
	case text == "-":
		return "hard"
	default:
		return text + " hard"
	}
}

// known is a size in a cell, "-" when nobody has said it.
func known(bytes uint64) string {
	if bytes == 0 {
		return "-"
	}
	return size(bytes)
}

// counted is "1 guest", "2 guests".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// or is the first that is not empty.
func or(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// number prints whole values without an exponent.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// signed prints a part of a logit.
func signed(v float64) string { return fmt.Sprintf("%+.2f", v) }

// pad fills text with spaces up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
