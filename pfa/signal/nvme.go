package signal

// Signals of NVMe drives: the SMART / Health Information log (log page 02h).
const (
	NVMeCriticalWarning    = "nvme_critical_warning"
	NVMeTemperature        = "nvme_temperature_celsius"
	NVMeAvailableSpare     = "nvme_available_spare_percent"
	NVMeSpareThreshold     = "nvme_available_spare_threshold_percent"
	NVMePercentageUsed     = "nvme_percentage_used"
	NVMeMediaErrors        = "nvme_media_errors"
	NVMeErrorLogEntries    = "nvme_num_err_log_entries"
	NVMeUnsafeShutdowns    = "nvme_unsafe_shutdowns"
	NVMePowerOnHours       = "nvme_power_on_hours"
	NVMePowerCycles        = "nvme_power_cycles"
	NVMeDataUnitsRead      = "nvme_data_units_read"
	NVMeDataUnitsWritten   = "nvme_data_units_written"
	NVMeWarningTempMinutes = "nvme_warning_temp_minutes"
)

// Bits of nvme_critical_warning, as the NVMe specification numbers them.
const (
	NVMeWarnSpare       = 1 << 0 // available spare is below its threshold
	NVMeWarnTemperature = 1 << 1 // a temperature is over or under its threshold
	NVMeWarnReliability = 1 << 2 // reliability degraded by media or internal errors
	NVMeWarnReadOnly    = 1 << 3 // the media is read-only
	NVMeWarnBackup      = 1 << 4 // the volatile memory backup device has failed
	NVMeWarnPMR         = 1 << 5 // the persistent memory region is read-only or unreliable
)

var nvmeSignals = []Signal{
	{NVMeCriticalWarning, Gauge, None, "disk", "NVMe critical warning bits", "nvme_smart_health_information_log.critical_warning"},
	{NVMeTemperature, Gauge, Celsius, "disk", "drive temperature", "nvme_smart_health_information_log.temperature"},
	{NVMeAvailableSpare, Gauge, Percent, "disk", "available spare", "nvme_smart_health_information_log.available_spare"},
	{NVMeSpareThreshold, Gauge, Percent, "disk", "available spare threshold", "nvme_smart_health_information_log.available_spare_threshold"},
	{NVMePercentageUsed, Gauge, Percent, "disk", "endurance used (may exceed 100)", "nvme_smart_health_information_log.percentage_used"},
	{NVMeMediaErrors, Counter, Count, "disk", "media and data integrity errors", "nvme_smart_health_information_log.media_errors"},
	{NVMeErrorLogEntries, Counter, Count, "disk", "error log entries", "nvme_smart_health_information_log.num_err_log_entries"},
	{NVMeUnsafeShutdowns, Counter, Count, "disk", "unsafe shutdowns", "nvme_smart_health_information_log.unsafe_shutdowns"},
	{NVMePowerOnHours, Counter, Hours, "disk", "power-on hours", "nvme_smart_health_information_log.power_on_hours"},
	{NVMePowerCycles, Counter, Count, "disk", "power cycles", "nvme_smart_health_information_log.power_cycles"},
	{NVMeDataUnitsRead, Counter, Count, "disk", "data units read (512,000 bytes each)", "nvme_smart_health_information_log.data_units_read"},
	{NVMeDataUnitsWritten, Counter, Count, "disk", "data units written (512,000 bytes each)", "nvme_smart_health_information_log.data_units_written"},
	{NVMeWarningTempMinutes, Counter, Count, "disk", "minutes above the warning temperature", "nvme_smart_health_information_log.warning_temp_time"},
}
