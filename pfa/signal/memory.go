package signal

// Signals of the memory's error counters as the kernel's EDAC drivers keep
// them. They restart at zero with each boot and when the driver is loaded.
// Component: "dimm:MC/CH/SLOT" per DIMM or rank, "mc:N" per controller.
const (
	EDACCorrected     = "edac_ce_count"
	EDACUncorrected   = "edac_ue_count"
	EDACCorrectedNI   = "edac_ce_noinfo_count"
	EDACUncorrectedNI = "edac_ue_noinfo_count"
)

var memorySignals = []Signal{
	{EDACCorrected, Counter, Count, "dimm", "corrected memory errors", "/sys/devices/system/edac/mc/mcN/dimmM/dimm_ce_count"},
	{EDACUncorrected, Counter, Count, "dimm", "uncorrected memory errors", "/sys/devices/system/edac/mc/mcN/dimmM/dimm_ue_count"},
	{EDACCorrectedNI, Counter, Count, "mc", "corrected memory errors without a place", "/sys/devices/system/edac/mc/mcN/ce_noinfo_count"},
	{EDACUncorrectedNI, Counter, Count, "mc", "uncorrected memory errors without a place", "/sys/devices/system/edac/mc/mcN/ue_noinfo_count"},
}
