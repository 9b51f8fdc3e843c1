package signal

// Signals of SCSI and SAS drives.
const (
	SCSIGrownDefects      = "scsi_grown_defects"
	SCSIReadUncorrected   = "scsi_read_uncorrected_errors"
	SCSIWriteUncorrected  = "scsi_write_uncorrected_errors"
	SCSIVerifyUncorrected = "scsi_verify_uncorrected_errors"
	SCSIPowerOnHours      = "scsi_power_on_hours"
	SCSITemperature       = "scsi_temperature_celsius"
)

var scsiSignals = []Signal{
	{SCSIGrownDefects, Counter, Count, "disk", "grown defects", "smartctl: scsi_grown_defect_list"},
	{SCSIReadUncorrected, Counter, Count, "disk", "uncorrected read errors", "smartctl: scsi_error_counter_log.read.total_uncorrected_errors"},
	{SCSIWriteUncorrected, Counter, Count, "disk", "uncorrected write errors", "smartctl: scsi_error_counter_log.write.total_uncorrected_errors"},
	{SCSIVerifyUncorrected, Counter, Count, "disk", "uncorrected verify errors", "smartctl: scsi_error_counter_log.verify.total_uncorrected_errors"},
	{SCSIPowerOnHours, Counter, Hours, "disk", "power-on hours", "smartctl: power_on_time.hours"},
	{SCSITemperature, Gauge, Celsius, "disk", "drive temperature", "smartctl: temperature.current"},
}
