package pfa

import (
	"strings"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Fact is something worth knowing about a component that no model weighs: its
// age, temperature, wear, and what points at a cable.
type Fact struct {
	Signal string  `json:"signal"`
	Value  float64 `json:"value"`
	Text   string  `json:"text"`
}

// factSignals are told in this order.
var factSignals = []string{
	signal.DriveSize,
	signal.SmartPowerOnHours, signal.NVMePowerOnHours, signal.SCSIPowerOnHours,
	signal.NVMePowerCycles,
	signal.SmartTemperature, signal.NVMeTemperature, signal.SCSITemperature,
	signal.NVMeDataUnitsRead, signal.NVMeDataUnitsWritten,
	signal.SmartCRCErrors,
}

// Facts tells what else is known of a component.
func (s *State) Facts() []Fact {
	var out []Fact
	if s.firmware != "" {
		out = append(out, Fact{Signal: signal.DriveFirmware, Text: "firmware " + s.firmware})
	}
	for _, name := range factSignals {
		sr := s.of(name)
		if sr == nil {
			continue
		}
		text := counterName(name) + " " + number(sr.level)
		switch name {
		case signal.DriveSize:
			text = counterName(name) + " " + percentText(sr.level/1e12) + " TB"
		case signal.SmartCRCErrors:
			if sr.up.over(Days30, s.latest) == 0 {
				continue
			}
			text = strings.Replace(counterWords(Reason{Signal: name, From: sr.before, Value: sr.level}, sr, s.latest), "; usual 0", "", 1) +
				": most often the cable or the port, not the disk"
		default:
			if line, _ := signal.Lookup(name); line.Unit == signal.Celsius {
				text += " °C"
			}
		}
		out = append(out, Fact{Signal: name, Value: sr.level, Text: text})
	}
	return out
}
