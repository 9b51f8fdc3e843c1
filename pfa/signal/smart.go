package signal

// Signals of ATA drives, and of every drive's SMART identity and verdict. The
// number in smart_N_raw is the ATA attribute's id; the value is the 48-bit raw
// value as the drive reports it (attribute "raw"."value" in smartctl's JSON),
// never the vendor-normalised one. Some raw values are packed or absurd (188 of
// some Seagate models holds three 16-bit counters; 65535 and 2^32 occur): they
// travel as reported and are understood by the features.
const (
	SmartReallocatedSectors    = "smart_5_raw"
	SmartPowerOnHours          = "smart_9_raw"
	SmartSpinRetries           = "smart_10_raw"
	SmartPowerCycles           = "smart_12_raw"
	SmartReportedUncorrectable = "smart_187_raw"
	SmartCommandTimeouts       = "smart_188_raw"
	SmartHighFlyWrites         = "smart_189_raw"
	SmartTemperature           = "smart_194_raw"
	SmartReallocationEvents    = "smart_196_raw"
	SmartPendingSectors        = "smart_197_raw"
	SmartOfflineUncorrectable  = "smart_198_raw"
	SmartCRCErrors             = "smart_199_raw"

	SmartPassed   = "smart_passed"
	DriveModel    = "drive_model"
	DriveFirmware = "drive_firmware"
	DriveProtocol = "drive_protocol"
	DriveSize     = "drive_size_bytes"
	DriveRotation = "drive_rotation_rpm"
)

var smartSignals = []Signal{
	{SmartReallocatedSectors, Counter, Count, "disk", "reallocated sectors", "ATA attribute 5"},
	{SmartPowerOnHours, Counter, Hours, "disk", "power-on hours", "ATA attribute 9; smartctl's power_on_time.hours when the raw value is packed"},
	{SmartSpinRetries, Counter, Count, "disk", "spin-up retries", "ATA attribute 10"},
	{SmartPowerCycles, Counter, Count, "disk", "power cycles", "ATA attribute 12"},
	{SmartReportedUncorrectable, Counter, Count, "disk", "reported uncorrectable errors", "ATA attribute 187"},
	{SmartCommandTimeouts, Counter, Count, "disk", "command timeouts", "ATA attribute 188"},
	{SmartHighFlyWrites, Counter, Count, "disk", "high-fly writes", "ATA attribute 189"},
	{SmartTemperature, Gauge, Celsius, "disk", "drive temperature", "ATA attribute 194; smartctl's temperature.current when the raw value is packed"},
	{SmartReallocationEvents, Counter, Count, "disk", "reallocation events", "ATA attribute 196"},
	{SmartPendingSectors, Gauge, Count, "disk", "pending sectors", "ATA attribute 197"},
	{SmartOfflineUncorrectable, Gauge, Count, "disk", "offline uncorrectable sectors", "ATA attribute 198"},
	{SmartCRCErrors, Counter, Count, "disk", "interface CRC errors", "ATA attribute 199"},

	{SmartPassed, Verdict, None, "disk", "the drive's own SMART verdict", "smartctl: smart_status.passed"},
	{DriveModel, Verdict, None, "disk", "drive model", "smartctl: model_name (ATA, NVMe) or scsi_model_name"},
	{DriveFirmware, Verdict, None, "disk", "drive firmware", "smartctl: firmware_version or scsi_revision"},
	{DriveProtocol, Verdict, None, "disk", "drive protocol: ATA, NVMe or SCSI", "smartctl: device.protocol"},
	{DriveSize, Gauge, Bytes, "disk", "drive size", "smartctl: user_capacity.bytes"},
	{DriveRotation, Gauge, PerMinute, "disk", "rotation rate; 0 is flash", "smartctl: rotation_rate"},
}

// ataAttributes maps an ATA attribute id to the signal of its raw value.
var ataAttributes = map[int]string{
	5: SmartReallocatedSectors, 9: SmartPowerOnHours, 10: SmartSpinRetries, 12: SmartPowerCycles,
	187: SmartReportedUncorrectable, 188: SmartCommandTimeouts, 189: SmartHighFlyWrites,
	194: SmartTemperature, 196: SmartReallocationEvents, 197: SmartPendingSectors,
	198: SmartOfflineUncorrectable, 199: SmartCRCErrors,
}

// ATAAttribute returns the signal that carries the raw value of an ATA
// attribute, and false for the many attributes that nothing here reads.
func ATAAttribute(id int) (name string, ok bool) {
	name, ok = ataAttributes[id]
	return name, ok
}
