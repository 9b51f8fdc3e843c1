package signal

// Signals of the operating system: processors, memory, pressure, disk and
// network as the kernel counts them, and what became of the collectors
// themselves. Ratios and latencies are averages over the time since the
// collector's last look.
const (
	CPUBusy        = "cpu_busy_ratio"
	CPUIOWait      = "cpu_iowait_ratio"
	CPUTemperature = "cpu_temperature_celsius"
	CPUThrottled   = "cpu_throttle_events"

	PressureCPUSome    = "psi_cpu_some_ratio"
	PressureMemorySome = "psi_memory_some_ratio"
	PressureMemoryFull = "psi_memory_full_ratio"
	PressureIOSome     = "psi_io_some_ratio"
	PressureIOFull     = "psi_io_full_ratio"

	MemoryTotal     = "memory_total_bytes"
	MemoryAvailable = "memory_available_bytes"
	SwapUsed        = "swap_used_bytes"
	OOMKills        = "oom_kills"

	DiskBusy         = "disk_busy_ratio"
	DiskReadLatency  = "disk_read_latency_seconds"
	DiskWriteLatency = "disk_write_latency_seconds"
	DiskIOErrors     = "disk_io_errors"

	NICUp             = "nic_up"
	NICReceiveErrors  = "nic_receive_errors"
	NICTransmitErrors = "nic_transmit_errors"
	NICReceiveDropped = "nic_receive_dropped"
	NICCarrierChanges = "nic_carrier_changes"
	NICReceiveBytes   = "nic_receive_bytes"
	NICTransmitBytes  = "nic_transmit_bytes"

	SmartExitStatus = "smart_exit_status"
	CollectorOK     = "collector_ok"
)

var osSignals = []Signal{
	{CPUBusy, Gauge, Ratio, "cpu", "processor time in use", "/proc/stat: all but idle and iowait"},
	{CPUIOWait, Gauge, Ratio, "cpu", "processor time spent waiting for disks", "/proc/stat: iowait"},
	{CPUTemperature, Gauge, Celsius, "cpu", "processor temperature, the hottest sensor", "/sys/class/hwmon: coretemp, k10temp, zenpower"},
	{CPUThrottled, Counter, Count, "cpu", "times that heat slowed a processor core down", "/sys/devices/system/cpu/cpuN/thermal_throttle/core_throttle_count, summed"},

	{PressureCPUSome, Gauge, Ratio, "cpu", "time in which something waited for a processor", "/proc/pressure/cpu: some avg60"},
	{PressureMemorySome, Gauge, Ratio, "memory", "time in which something waited for memory", "/proc/pressure/memory: some avg60"},
	{PressureMemoryFull, Gauge, Ratio, "memory", "time in which everything waited for memory", "/proc/pressure/memory: full avg60"},
	{PressureIOSome, Gauge, Ratio, "os", "time in which something waited for disks", "/proc/pressure/io: some avg60"},
	{PressureIOFull, Gauge, Ratio, "os", "time in which everything waited for disks", "/proc/pressure/io: full avg60"},

	{MemoryTotal, Gauge, Bytes, "memory", "memory of the host", "/proc/meminfo: MemTotal; it shrinks when a DIMM is lost"},
	{MemoryAvailable, Gauge, Bytes, "memory", "memory that is free or can be freed", "/proc/meminfo: MemAvailable"},
	{SwapUsed, Gauge, Bytes, "memory", "swap in use", "/proc/meminfo: SwapTotal - SwapFree"},
	{OOMKills, Counter, Count, "memory", "processes killed for lack of memory", "/proc/vmstat: oom_kill"},

	{DiskBusy, Gauge, Ratio, "disk", "time in which the drive was busy", "/proc/diskstats: io ticks"},
	{DiskReadLatency, Gauge, Seconds, "disk", "mean time of a read", "/proc/diskstats: read ticks by reads"},
	{DiskWriteLatency, Gauge, Seconds, "disk", "mean time of a write", "/proc/diskstats: write ticks by writes"},
	{DiskIOErrors, Counter, Count, "disk", "commands that the drive answered with an error", "/sys/block/NAME/device/ioerr_cnt (SCSI and ATA)"},

	{NICUp, Verdict, None, "nic", "state of the link", "/sys/class/net/NAME/operstate; 1 is up, nothing when unknown"},
	{NICReceiveErrors, Counter, Count, "nic", "packets received with errors", "/sys/class/net/NAME/statistics/rx_errors"},
	{NICTransmitErrors, Counter, Count, "nic", "packets that could not be sent", "/sys/class/net/NAME/statistics/tx_errors"},
	{NICReceiveDropped, Counter, Count, "nic", "packets received and dropped", "/sys/class/net/NAME/statistics/rx_dropped"},
	{NICCarrierChanges, Counter, Count, "nic", "times that the link came or went", "/sys/class/net/NAME/carrier_changes"},
	{NICReceiveBytes, Counter, Bytes, "nic", "bytes received", "/sys/class/net/NAME/statistics/rx_bytes"},
	{NICTransmitBytes, Counter, Bytes, "nic", "bytes sent", "/sys/class/net/NAME/statistics/tx_bytes"},

	{SmartExitStatus, Gauge, None, "disk", "smartctl's exit status bits about the drive", "smartctl: exit_status, bits 2 to 7 of smartctl(8)"},
	{CollectorOK, Verdict, None, "collector", "whether a collector could do its work", "the collector's last look; failed says why in its text"},
}
