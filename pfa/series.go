package pfa

import "github.com/vireo-kvm/vireo/pfa/signal"

// tracked lists the signals a State remembers. A signal's place is part of the
// snapshot format: append, never reorder.
var tracked = []string{
	signal.SmartReallocatedSectors,
	signal.SmartPowerOnHours,
	signal.SmartSpinRetries,
	signal.SmartPowerCycles,
	signal.SmartReportedUncorrectable,
	signal.SmartCommandTimeouts,
	signal.SmartHighFlyWrites,
	signal.SmartTemperature,
	signal.SmartReallocationEvents,
	signal.SmartPendingSectors,
	signal.SmartOfflineUncorrectable,
	signal.SmartCRCErrors,
	signal.SmartPassed,
	signal.DriveSize,
	signal.NVMeCriticalWarning,
	signal.NVMeTemperature,
	signal.NVMeAvailableSpare,
	signal.NVMeSpareThreshold,
	signal.NVMePercentageUsed,
	signal.NVMeMediaErrors,
	signal.NVMeErrorLogEntries,
	signal.NVMeUnsafeShutdowns,
	signal.NVMePowerOnHours,
	signal.NVMePowerCycles,
	signal.NVMeDataUnitsRead,
	signal.NVMeDataUnitsWritten,
	signal.NVMeWarningTempMinutes,
	signal.SCSIGrownDefects,
	signal.SCSIReadUncorrected,
	signal.SCSIWriteUncorrected,
	signal.SCSIVerifyUncorrected,
	signal.SCSIPowerOnHours,
	signal.SCSITemperature,
	signal.EDACCorrected,
	signal.EDACUncorrected,
	signal.EDACCorrectedNI,
	signal.EDACUncorrectedNI,
	signal.DriveRotation,
	signal.CPUBusy,
	signal.CPUIOWait,
	signal.CPUTemperature,
	signal.CPUThrottled,
	signal.PressureCPUSome,
	signal.PressureMemorySome,
	signal.PressureMemoryFull,
	signal.PressureIOSome,
	signal.PressureIOFull,
	signal.MemoryTotal,
	signal.MemoryAvailable,
	signal.SwapUsed,
	signal.OOMKills,
	signal.DiskBusy,
	signal.DiskReadLatency,
	signal.DiskWriteLatency,
	signal.DiskIOErrors,
	signal.NICUp,
	signal.NICReceiveErrors,
	signal.NICTransmitErrors,
	signal.NICReceiveDropped,
	signal.NICCarrierChanges,
	signal.NICReceiveBytes,
	signal.NICTransmitBytes,
	signal.SmartExitStatus,
	signal.CollectorOK,
}

var trackedIndex = func() map[string]int {
	m := make(map[string]int, len(tracked))
	for i, name := range tracked {
		m[name] = i
	}
	return m
}()

// series is what is remembered of one signal of one component.
type series struct {
	signal int     // index into tracked
	level  float64 // the latest value
	high   float64 // the highest value of a device's counter; the latest of a kernel's
	first  Axis    // when the signal was first seen with a value
	seen   Axis    // when it was last seen with a value
	since  Axis    // when level became what it is
	boot   uint64  // hash of the boot id, for counters that restart with the kernel

	// An episode is a run of rises with no pause of 30 days or more: what
	// people mean by "since when".
	rose   Axis    // the latest rise
	began  Axis    // the episode's first rise
	before float64 // the level before the episode
	risen  bool    // there was a rise at all

	up *increases // nil until what it counts first rises
}

// seriesRoom is by how many signals a state's room grows: a fleet has very many
// states.
const seriesRoom = 4

const episodePause Axis = 30 * 24

// observe takes the next value, which has been cleaned.
func (s *series) observe(t Axis, v float64, kind signal.Kind, boot uint64) {
	rise := 0.0
	switch {
	case kind != signal.Counter:
		rise = v - s.level
	case boot != s.boot: // a kernel counter after a reboot began again at zero
		rise = v
	default:
		// A device's counter that falls was misread or reset; it has not risen
		// until it exceeds what it has shown before.
		rise = v - s.high
	}
	if boot != s.boot {
		s.high = v
	} else {
		s.high = max(s.high, v)
	}
	if rise > 0 {
		if !s.risen || t-s.rose >= episodePause {
			s.began, s.before = t, s.level
		}
		s.rose, s.risen = t, true
		if line := &lineOf[s.signal]; line.Kind == signal.Counter || line.Unit == signal.Count { // nobody asks how often a temperature rose
			if s.up == nil {
				s.up = &increases{}
			}
			s.up.add(t, rise)
		}
	}
	if v != s.level {
		s.since = t
	}
	s.level, s.boot, s.seen = v, boot, max(t, s.seen)
}

// clean turns a raw value into what it means, and reports false for values that
// mean nothing: what a drive returns when it cannot count, or an overflow.
func clean(name string, v float64) (float64, bool) {
	if v < 0 || v != v {
		return 0, false
	}
	switch name {
	case signal.SmartCommandTimeouts:
		// Some Seagate models pack three 16-bit counters: the lowest counts
		// timeouts, the others those of more than 5 and 7.5 seconds.
		if v > 0xffff && v < 1<<48 {
			v = float64(uint64(v) & 0xffff)
		}
	case signal.SmartTemperature:
		if v > 0xff && v < 1<<48 { // current, lowest and highest, packed
			v = float64(uint64(v) & 0xff)
		}
		return v, v < 128
	case signal.SmartPowerOnHours:
		if v > 0xffffff && v < 1<<48 { // hours below, milliseconds above
			v = float64(uint64(v) & 0xffffff)
		}
		return v, v < maxHours
	}
	if errorCount[name] && (v == 0xffff || v >= 0xffffffff) {
		return 0, false
	}
	return v, v < 1<<63
}

// errorCount holds the signals for which 65535 and 2^32-1 mean that the drive
// cannot count: everything it counts but hours, and what grows beyond.
var errorCount = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range signal.All() {
		m[s.Name] = s.On == "disk" && s.Unit == signal.Count
	}
	m[signal.NVMeDataUnitsRead], m[signal.NVMeDataUnitsWritten] = false, false
	return m
}()

const maxHours = 50 * 8766 // fifty years
