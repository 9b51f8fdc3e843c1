package pfa

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Fact is something worth knowing about a component that no model weighs: a
// drive's age, temperature and wear, a processor's load, errors of a link.
type Fact struct {
	Signal string  `json:"signal"`
	Value  float64 `json:"value"`
	Text   string  `json:"text"`
}

// factSignals are told in this order; counters only if they have risen lately.
var factSignals = []struct {
	signal string
	always bool   // a counter told whatever it is
	hint   string // what it points at
}{
	{signal: signal.DriveSize},
	{signal: signal.SmartPowerOnHours, always: true},
	{signal: signal.NVMePowerOnHours, always: true},
	{signal: signal.SCSIPowerOnHours, always: true},
	{signal: signal.NVMePowerCycles, always: true},
	{signal: signal.SmartTemperature},
	{signal: signal.NVMeTemperature},
	{signal: signal.SCSITemperature},
	{signal: signal.NVMeDataUnitsRead, always: true},
	{signal: signal.NVMeDataUnitsWritten, always: true},
	{signal: signal.SmartCRCErrors, hint: "most often the cable or the port, not the disk"},
	{signal: signal.DiskBusy},
	{signal: signal.DiskReadLatency},
	{signal: signal.DiskWriteLatency},
	{signal: signal.DiskIOErrors},
	{signal: signal.CPUBusy},
	{signal: signal.CPUIOWait},
	{signal: signal.CPUTemperature},
	{signal: signal.CPUThrottled, hint: "cooling"},
	{signal: signal.PressureCPUSome},
	{signal: signal.PressureMemorySome},
	{signal: signal.PressureMemoryFull},
	{signal: signal.PressureIOSome},
	{signal: signal.PressureIOFull},
	{signal: signal.MemoryTotal},
	{signal: signal.MemoryAvailable},
	{signal: signal.SwapUsed},
	{signal: signal.OOMKills},
	{signal: signal.NICUp},
	{signal: signal.NICReceiveErrors, hint: "cable, port or card"},
	{signal: signal.NICTransmitErrors, hint: "cable, port or card"},
	{signal: signal.NICReceiveDropped},
	{signal: signal.NICCarrierChanges, hint: "cable, port or the other end"},
	{signal: signal.NICReceiveBytes, always: true},
	{signal: signal.NICTransmitBytes, always: true},
}

// Facts tells what else is known of a component.
func (s *State) Facts() []Fact {
	var out []Fact
	if s.firmware != "" {
		out = append(out, Fact{Signal: signal.DriveFirmware, Text: "firmware " + s.firmware})
	}
	for _, f := range factSignals {
		sr := s.of(f.signal)
		if sr == nil {
			continue
		}
		line, _ := signal.Lookup(f.signal)
		text := counterName(f.signal) + " "
		switch {
		case line.Kind == signal.Verdict:
			text += s.words
		case line.Kind != signal.Counter || f.always:
			text += quantityText(sr.level, line.Unit)
		default:
			rise := sr.up.over(Days30, s.latest)
			if rise == 0 {
				continue
			}
			text += fmt.Sprintf("rose by %s in 30 days", number(rise))
		}
		if f.hint != "" {
			text += ": " + f.hint
		}
		out = append(out, Fact{Signal: f.signal, Value: sr.level, Text: text})
	}
	return out
}

// quantityText shows a value of the catalogue's unit to people.
func quantityText(v float64, unit string) string {
	switch unit {
	case signal.Ratio:
		return Percent(100 * v)
	case signal.Percent:
		return number(v) + " %"
	case signal.Celsius:
		return number(v) + " °C"
	case signal.Seconds:
		return time.Duration(v * float64(time.Second)).Round(10 * time.Microsecond).String()
	case signal.Bytes:
		return bytesText(v)
	}
	return number(v)
}

func bytesText(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= u.size {
			return digits(v/u.size) + " " + u.name
		}
	}
	return number(v) + " B"
}
