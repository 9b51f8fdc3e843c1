package lab

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Drive is the recorded life of a drive, or its end: one day after the other.
type Drive struct {
	Serial   string
	Model    string
	Capacity int64 // bytes; 0 if it was not recorded
	Days     []DriveDay
}

// DriveDay is what a drive said on a day.
type DriveDay struct {
	Date       time.Time
	Offset     int // days to the last recorded one: 0 is the last, -1 the day before
	Attributes []DriveAttribute
	Failed     bool // its overall health; no record has it, so it is false unless somebody says otherwise
}

// DriveAttribute is one SMART attribute of a day. What was not recorded is not there.
type DriveAttribute struct {
	ID         int
	Raw        uint64
	Normalized *uint64
}

// FindDrives returns the directory of the recorded drives: test/testdata/drives of
// the module that the working directory or the lab's programs are in.
func FindDrives(bin string) (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for _, from := range []string{wd, bin} {
		for dir := from; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			drives := filepath.Join(dir, "test", "testdata", "drives")
			if _, err := os.Stat(drives); err == nil {
				return drives, nil
			}
		}
	}
	return "", fmt.Errorf("no test/testdata/drives above %s or %s", wd, bin)
}

// ReadDrive reads a drive's daily rows: a CSV with Backblaze's columns date,
// serial_number, model, capacity_bytes, smart_N_raw and smart_N_normalized, of which
// only the first three must be there; the last row is the day it died.
func ReadDrive(path string) (Drive, error) {
	f, err := os.Open(path)
	if err != nil {
		return Drive{}, err
	}
	defer f.Close()
	d, err := parseDrive(f)
	if err != nil {
		return Drive{}, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func parseDrive(r io.Reader) (Drive, error) {
	rows := csv.NewReader(r)
	header, err := rows.Read()
	if err != nil {
		return Drive{}, fmt.Errorf("header: %w", err)
	}
	column := map[string]int{}
	ids := []int{}
	for i, name := range header {
		column[name] = i
		var id int
		if n, err := fmt.Sscanf(name, "smart_%d_raw", &id); n == 1 && err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, name := range []string{"date", "serial_number", "model"} {
		if _, ok := column[name]; !ok {
			return Drive{}, fmt.Errorf("there is no column %s", name)
		}
	}
	var d Drive
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Drive{}, err
		}
		line, _ := rows.FieldPos(0)
		date, err := time.Parse(time.DateOnly, row[column["date"]])
		if err != nil {
			return Drive{}, fmt.Errorf("line %d: date: %w", line, err)
		}
		if n := len(d.Days); n > 0 && !date.After(d.Days[n-1].Date) {
			return Drive{}, fmt.Errorf("line %d: %s does not follow the day before", line, row[column["date"]])
		}
		d.Serial, d.Model = row[column["serial_number"]], row[column["model"]]
		if i, ok := column["capacity_bytes"]; ok && row[i] != "" {
			if d.Capacity, err = strconv.ParseInt(row[i], 10, 64); err != nil {
				return Drive{}, fmt.Errorf("line %d: capacity_bytes: %w", line, err)
			}
		}
		day := DriveDay{Date: date}
		for _, id := range ids {
			raw, err := number(row, column, fmt.Sprintf("smart_%d_raw", id))
			if err != nil {
				return Drive{}, fmt.Errorf("line %d: %w", line, err)
			}
			normalized, err := number(row, column, fmt.Sprintf("smart_%d_normalized", id))
			if err != nil {
				return Drive{}, fmt.Errorf("line %d: %w", line, err)
			}
			if raw != nil {
				day.Attributes = append(day.Attributes, DriveAttribute{ID: id, Raw: *raw, Normalized: normalized})
			}
		}
		d.Days = append(d.Days, day)
	}
	if len(d.Days) == 0 {
		return Drive{}, errors.New("there is no day in it")
	}
	last := d.Days[len(d.Days)-1].Date
	for i := range d.Days {
		d.Days[i].Offset = -int(last.Sub(d.Days[i].Date).Hours() / 24)
	}
	return d, nil
}

// number reads a cell that may be missing or empty; Backblaze writes some whole numbers as 12.0.
func number(row []string, column map[string]int, name string) (*uint64, error) {
	i, ok := column[name]
	if !ok || row[i] == "" {
		return nil, nil
	}
	v, err := strconv.ParseUint(strings.TrimSuffix(row[i], ".0"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &v, nil
}

// attributeNames are smartctl's names of the attributes that Backblaze records most.
var attributeNames = map[int]string{
	1: "Raw_Read_Error_Rate", 2: "Throughput_Performance", 3: "Spin_Up_Time", 4: "Start_Stop_Count", 5: "Reallocated_Sector_Ct",
	7: "Seek_Error_Rate", 9: "Power_On_Hours", 10: "Spin_Retry_Count", 12: "Power_Cycle_Count", 183: "Runtime_Bad_Block",
	184: "End-to-End_Error", 187: "Reported_Uncorrect", 188: "Command_Timeout", 189: "High_Fly_Writes", 190: "Airflow_Temperature_Cel",
	191: "G-Sense_Error_Rate", 192: "Power-Off_Retract_Count", 193: "Load_Cycle_Count", 194: "Temperature_Celsius",
	196: "Reallocated_Event_Count", 197: "Current_Pending_Sector", 198: "Offline_Uncorrectable", 199: "UDMA_CRC_Error_Count",
	240: "Head_Flying_Hours", 241: "Total_LBAs_Written", 242: "Total_LBAs_Read",
}

// device is how smartctl speaks of the drive of a host.
var device = map[string]any{"name": "/dev/" + rootDrive, "info_name": "/dev/" + rootDrive + " [SAT]", "type": "sat", "protocol": "ATA"}

// smartctlHead begins every document that smartctl prints.
func smartctlHead(exit int, argv ...string) map[string]any {
	return map[string]any{
		"json_format_version": []int{1, 0},
		"smartctl":            map[string]any{"version": []int{7, 3}, "platform_info": "vireo-lab", "build_info": "(replayed)", "argv": append([]string{"smartctl"}, argv...), "exit_status": exit},
	}
}

// document is what `smartctl --json --all` prints of the drive on a day, as far as the record goes.
func (d Drive) document(day DriveDay) ([]byte, error) {
	exit := 0
	if day.Failed {
		exit = 8 // the bit of smartctl's that says so
	}
	doc := smartctlHead(exit, "--json", "--all", "/dev/"+rootDrive)
	doc["local_time"] = map[string]any{"time_t": day.Date.Unix(), "asctime": day.Date.Format(time.ANSIC)}
	doc["device"] = device
	doc["model_name"], doc["serial_number"] = d.Model, d.Serial
	if d.Capacity > 0 {
		doc["user_capacity"] = map[string]any{"blocks": d.Capacity / 512, "bytes": d.Capacity}
	}
	doc["logical_block_size"] = 512
	doc["smart_support"] = map[string]any{"available": true, "enabled": true}
	doc["smart_status"] = map[string]any{"passed": !day.Failed}
	table := []map[string]any{}
	for _, a := range day.Attributes {
		name, ok := attributeNames[a.ID]
		if !ok {
			name = "Unknown_Attribute"
		}
		row := map[string]any{"id": a.ID, "name": name, "thresh": 0, "when_failed": "", "raw": map[string]any{"value": a.Raw, "string": strconv.FormatUint(a.Raw, 10)}}
		if a.Normalized != nil {
			row["value"], row["worst"] = *a.Normalized, *a.Normalized
		}
		table = append(table, row)
		switch a.ID {
		case 9:
			doc["power_on_time"] = map[string]any{"hours": a.Raw}
		case 12:
			doc["power_cycle_count"] = a.Raw
		case 194:
			doc["temperature"] = map[string]any{"current": a.Raw & 0xff}
		}
	}
	doc["ata_smart_attributes"] = map[string]any{"revision": 10, "table": table}
	return json.MarshalIndent(doc, "", "  ")
}
