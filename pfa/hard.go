package pfa

import (
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Hard returns the hard evidence that a state holds, in a fixed order. It rests
// on the newest value of each signal: a drive that takes its verdict back is no
// longer failing.
func (s *State) Hard() []Evidence {
	var out []Evidence
	add := func(sr *series, severity Severity, format string, args ...any) {
		out = append(out, Evidence{Signal: tracked[sr.signal], Severity: severity, Value: sr.level,
			Since: axisTime(sr.since), Text: fmt.Sprintf(format, args...)})
	}
	if sr := s.of(signal.SmartPassed); sr != nil && sr.level == 0 {
		add(sr, Failing, "the drive's own SMART verdict is FAILED")
	}
	if sr := s.of(signal.SmartExitStatus); sr != nil && uint(sr.level)&smartctlPrefail != 0 {
		add(sr, Degraded, "a pre-failure attribute is at its vendor's threshold")
	}
	if sr := s.of(signal.CollectorOK); sr != nil && sr.level == 0 {
		add(sr, Degraded, "the collector fails: %s", s.words)
	}
	if sr := s.of(signal.NVMeCriticalWarning); sr != nil && sr.level > 0 {
		severity, words := nvmeWarning(uint(sr.level))
		add(sr, severity, "NVMe critical warning 0x%02x: %s", uint(sr.level), words)
	}
	if spare, limit := s.of(signal.NVMeAvailableSpare), s.of(signal.NVMeSpareThreshold); spare != nil && limit != nil && spare.level < limit.level {
		add(spare, Failing, "available spare is %g %%, below its threshold of %g %%", spare.level, limit.level)
	}
	for _, name := range [...]string{signal.EDACUncorrected, signal.EDACUncorrectedNI} {
		if sr := s.of(name); sr != nil && sr.level > 0 {
			add(sr, Failing, "%g uncorrected memory errors since the host booted", sr.level)
		}
	}
	return out
}

// smartctlPrefail is the bit of smartctl's exit status that says so.
const smartctlPrefail = 1 << 4

func nvmeWarning(bits uint) (Severity, string) {
	severity := Degraded
	var words []string
	for _, b := range [...]struct {
		bit      uint
		severity Severity
		words    string
	}{
		{signal.NVMeWarnSpare, Failing, "available spare below its threshold"},
		{signal.NVMeWarnTemperature, Degraded, "temperature outside its limits"},
		{signal.NVMeWarnReliability, Failing, "reliability degraded by media or internal errors"},
		{signal.NVMeWarnReadOnly, Failing, "media is read-only"},
		{signal.NVMeWarnBackup, Failing, "volatile memory backup has failed"},
		{signal.NVMeWarnPMR, Degraded, "persistent memory region is read-only or unreliable"},
	} {
		if bits&b.bit != 0 {
			words = append(words, b.words)
			bits &^= b.bit
			if b.severity == Failing {
				severity = Failing
			}
		}
	}
	if bits != 0 {
		words = append(words, "bits that the specification reserves")
	}
	return severity, strings.Join(words, ", ")
}
