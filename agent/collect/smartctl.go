package collect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// document is what is read of a JSON document of smartctl; its names are
// smartctl's. Pointers tell "not there" from zero.
type document struct {
	Smartctl struct {
		ExitStatus int `json:"exit_status"`
		Messages   []struct {
			Text     string `json:"string"`
			Severity string `json:"severity"`
		} `json:"messages"`
	} `json:"smartctl"`
	Devices []device `json:"devices"` // --scan-open
	Device  device   `json:"device"`

	ModelName    string `json:"model_name"`
	SCSIModel    string `json:"scsi_model_name"`
	SCSIVendor   string `json:"scsi_vendor"`
	SCSIProduct  string `json:"scsi_product"`
	Serial       string `json:"serial_number"`
	Firmware     string `json:"firmware_version"`
	SCSIRevision string `json:"scsi_revision"`
	Capacity     struct {
		Bytes *float64 `json:"bytes"`
	} `json:"user_capacity"`
	NVMeCapacity *float64 `json:"nvme_total_capacity"`
	Rotation     *float64 `json:"rotation_rate"`

	Status *struct {
		Passed *bool `json:"passed"`
	} `json:"smart_status"`
	PowerOn struct {
		Hours *float64 `json:"hours"`
	} `json:"power_on_time"`
	Temperature struct {
		Current *float64 `json:"current"`
	} `json:"temperature"`

	ATA *struct {
		Table []struct {
			ID  int `json:"id"`
			Raw struct {
				Value float64 `json:"value"`
			} `json:"raw"`
		} `json:"table"`
	} `json:"ata_smart_attributes"`

	NVMe *struct {
		CriticalWarning  *float64 `json:"critical_warning"`
		Temperature      *float64 `json:"temperature"`
		AvailableSpare   *float64 `json:"available_spare"`
		SpareThreshold   *float64 `json:"available_spare_threshold"`
		PercentageUsed   *float64 `json:"percentage_used"`
		MediaErrors      *float64 `json:"media_errors"`
		ErrorLogEntries  *float64 `json:"num_err_log_entries"`
		UnsafeShutdowns  *float64 `json:"unsafe_shutdowns"`
		PowerOnHours     *float64 `json:"power_on_hours"`
		PowerCycles      *float64 `json:"power_cycles"`
		DataUnitsRead    *float64 `json:"data_units_read"`
		DataUnitsWritten *float64 `json:"data_units_written"`
		WarningTempTime  *float64 `json:"warning_temp_time"`
	} `json:"nvme_smart_health_information_log"`

	GrownDefects *float64 `json:"scsi_grown_defect_list"`
	ErrorCounter *struct {
		Read, Write, Verify *struct {
			Uncorrected *float64 `json:"total_uncorrected_errors"`
		}
	} `json:"scsi_error_counter_log"`
}

// device is one line of a scan.
type device struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Protocol  string `json:"protocol"`
	OpenError string `json:"open_error"`
}

// Bits of smartctl's exit status, as smartctl(8) numbers them.
const (
	exitUsage = 1 << 0 // the command line did not parse
	exitOpen  = 1 << 1 // the device could not be opened or did not identify itself
	// exitDrive are the bits that say something about the drive: a command that
	// failed, FAILING, attributes at their threshold now or once, error logs.
	exitDrive = 0xfc
)

// parseDocument reads what smartctl printed. It fails when that is no document,
// whatever the exit status says.
func parseDocument(stdout []byte) (document, error) {
	var d document
	if err := json.Unmarshal(stdout, &d); err != nil {
		return document{}, fmt.Errorf("smartctl printed no JSON document (%w): %s", err, beginning(stdout))
	}
	if d.Smartctl.ExitStatus&(exitUsage|exitOpen) != 0 {
		return d, errors.New(d.message())
	}
	return d, nil
}

// message is what smartctl complains of.
func (d document) message() string {
	var texts []string
	for _, m := range d.Smartctl.Messages {
		if m.Severity == "error" || len(d.Smartctl.Messages) == 1 {
			texts = append(texts, m.Text)
		}
	}
	if len(texts) == 0 {
		return fmt.Sprintf("smartctl's exit status is %d", d.Smartctl.ExitStatus)
	}
	return strings.Join(texts, "; ")
}

// beginning is enough of garbage to recognise it.
func beginning(b []byte) string {
	const enough = 60
	s := strings.ToValidUTF8(string(b[:min(len(b), enough)]), "?")
	if len(b) > enough {
		s += "…"
	}
	return fmt.Sprintf("%q", s)
}

// drive reads a drive's document into readings of the component.
func (r *readings) drive(c string, d document) {
	r.text(c, signal.DriveModel, firstOf(d.ModelName, d.SCSIModel, strings.TrimSpace(d.SCSIVendor+" "+d.SCSIProduct)))
	r.text(c, signal.DriveFirmware, firstOf(d.Firmware, d.SCSIRevision))
	r.text(c, signal.DriveProtocol, d.Device.Protocol)
	r.maybe(c, signal.DriveSize, cmp.Or(d.Capacity.Bytes, d.NVMeCapacity))
	r.maybe(c, signal.DriveRotation, d.Rotation)
	if d.Status == nil || d.Status.Passed == nil {
		r.absent(c, signal.SmartPassed)
	} else if *d.Status.Passed {
		r.verdict(c, signal.SmartPassed, true, "PASSED")
	} else {
		r.verdict(c, signal.SmartPassed, false, "FAILED")
	}
	r.value(c, signal.SmartExitStatus, float64(d.Smartctl.ExitStatus&exitDrive))
	switch {
	case d.NVMe != nil:
		r.nvme(c, d)
	case d.ATA != nil:
		r.ata(c, d)
	case d.Device.Protocol == "SCSI":
		r.scsi(c, d)
	}
}

// ata gives the raw values of the attributes that the catalogue has. What
// smartctl has decoded is better than a raw value that may be packed.
func (r *readings) ata(c string, d document) {
	has := map[string]bool{}
	for _, a := range d.ATA.Table {
		name, ok := signal.ATAAttribute(a.ID)
		if !ok || has[name] {
			continue
		}
		has[name] = true
		value := a.Raw.Value
		switch {
		case name == signal.SmartPowerOnHours && d.PowerOn.Hours != nil:
			value = *d.PowerOn.Hours
		case name == signal.SmartTemperature && d.Temperature.Current != nil:
			value = *d.Temperature.Current
		}
		r.value(c, name, value)
	}
	for id := range 256 {
		if name, ok := signal.ATAAttribute(id); ok && !has[name] {
			r.absent(c, name)
		}
	}
}

func (r *readings) nvme(c string, d document) {
	log := d.NVMe
	r.maybe(c, signal.NVMeCriticalWarning, log.CriticalWarning)
	r.maybe(c, signal.NVMeTemperature, log.Temperature)
	r.maybe(c, signal.NVMeAvailableSpare, log.AvailableSpare)
	r.maybe(c, signal.NVMeSpareThreshold, log.SpareThreshold)
	r.maybe(c, signal.NVMePercentageUsed, log.PercentageUsed)
	r.maybe(c, signal.NVMeMediaErrors, log.MediaErrors)
	r.maybe(c, signal.NVMeErrorLogEntries, log.ErrorLogEntries)
	r.maybe(c, signal.NVMeUnsafeShutdowns, log.UnsafeShutdowns)
	r.maybe(c, signal.NVMePowerOnHours, log.PowerOnHours)
	r.maybe(c, signal.NVMePowerCycles, log.PowerCycles)
	r.maybe(c, signal.NVMeDataUnitsRead, log.DataUnitsRead)
	r.maybe(c, signal.NVMeDataUnitsWritten, log.DataUnitsWritten)
	r.maybe(c, signal.NVMeWarningTempMinutes, log.WarningTempTime)
}

func (r *readings) scsi(c string, d document) {
	var read, write, verify *float64
	if log := d.ErrorCounter; log != nil {
		if log.Read != nil {
			read = log.Read.Uncorrected
		}
		if log.Write != nil {
			write = log.Write.Uncorrected
		}
		if log.Verify != nil {
			verify = log.Verify.Uncorrected
		}
	}
	r.maybe(c, signal.SCSIGrownDefects, d.GrownDefects)
	r.maybe(c, signal.SCSIReadUncorrected, read)
	r.maybe(c, signal.SCSIWriteUncorrected, write)
	r.maybe(c, signal.SCSIVerifyUncorrected, verify)
	r.maybe(c, signal.SCSIPowerOnHours, d.PowerOn.Hours)
	r.maybe(c, signal.SCSITemperature, d.Temperature.Current)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
