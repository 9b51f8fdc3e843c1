package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// rootDrive is the drive of a host that a recorded drive is shown as: its first
	// partition holds the root file system, its second swap.
	rootDrive = "sda"

	rootPartition, swapPartition = rootDrive + "1", rootDrive + "2"
)

// roots is where a host's agent finds what the lab says about the host's hardware.
type roots struct {
	Smartctl string // a program that prints the documents of the host's drives
	Sys      string // a tree in which the block devices are the lab's
	Kmsg     string // a file that stands for the kernel's log
	Mounts   string // a mount table with the root file system on rootDrive
}

func rootsOf(host string) roots {
	dir := machineDir(host)
	// On the host's disk, because a program under /run may not be run on many machines.
	return roots{Smartctl: filepath.Join(dir, "disk", "smart", "smartctl"), Sys: filepath.Join(dir, "sys"), Kmsg: filepath.Join(dir, "kmsg"), Mounts: filepath.Join(dir, "mountinfo")}
}

// smartctlScript stands in for smartctl: it prints what lies beside it.
const smartctlScript = `#!/bin/sh
# smartctl of a host of the lab: prints the documents beside it, which vireo-lab inject writes.
here=${0%/*}
if [ -e "$here/fault" ]; then
	read -r fault <"$here/fault"
	case $fault in
	hang) exec sleep 1000000 ;;
	garbage) echo '{"json_format_version": [1, 0], "smartctl": {"exit'; exit 0 ;;
	esac
fi
for device; do :; done
case " $* " in
*" --scan-open "* | *" --scan "*) exec cat "$here/scan.json" ;;
esac
document=$here/${device##*/}.json
if [ -e "$document" ]; then
	cat "$document"
	[ ! -e "$document.failed" ] || exit 8
	exit 0
fi
cat "$here/none.json"
exit 2
`

// furnishHardware gives a host its hardware: a root drive that says nothing yet.
func furnishHardware(host string) error {
	r := rootsOf(host)
	smart := filepath.Dir(r.Smartctl)
	block := filepath.Join(r.Sys, "devices", "lab", "block", rootDrive)
	for _, dir := range []string{
		smart, filepath.Join(block, "queue"), filepath.Join(block, "device"), filepath.Join(block, rootPartition), filepath.Join(block, swapPartition),
		filepath.Join(r.Sys, "block"), filepath.Join(r.Sys, "class", "block"), filepath.Join(r.Sys, "dev", "block"),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	none := smartctlHead(2, "--json", "--all")
	none["smartctl"].(map[string]any)["messages"] = []map[string]any{{"string": "Smartctl open device failed: No such device", "severity": "error"}}
	text, err := json.MarshalIndent(none, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{
		filepath.Join(block, "dev"):                      "8:0\n",
		filepath.Join(block, "size"):                     "7814037168\n",
		filepath.Join(block, "queue", "rotational"):      "1\n",
		filepath.Join(block, rootPartition, "dev"):       "8:1\n",
		filepath.Join(block, rootPartition, "partition"): "1\n",
		filepath.Join(block, swapPartition, "dev"):       "8:2\n",
		filepath.Join(block, swapPartition, "partition"): "2\n",
		filepath.Join(smart, "none.json"):                string(text),
		r.Kmsg:                                           "",
		r.Mounts: "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/" + rootPartition + " rw,errors=remount-ro\n" +
			"23 22 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:2 - proc proc rw\n" +
			"24 22 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:3 - sysfs sysfs rw\n",
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(r.Smartctl, []byte(smartctlScript), 0o755); err != nil {
		return err
	}
	for name, to := range map[string]string{
		"block/" + rootDrive: "../devices/lab/block/" + rootDrive, "class/block/" + rootDrive: "../../devices/lab/block/" + rootDrive,
		"class/block/" + rootPartition: "../../devices/lab/block/" + rootDrive + "/" + rootPartition,
		"class/block/" + swapPartition: "../../devices/lab/block/" + rootDrive + "/" + swapPartition,
		"dev/block/8:0":                "../../devices/lab/block/" + rootDrive,
		"dev/block/8:1":                "../../devices/lab/block/" + rootDrive + "/" + rootPartition,
		"dev/block/8:2":                "../../devices/lab/block/" + rootDrive + "/" + swapPartition,
	} {
		if err := os.Symlink(to, filepath.Join(r.Sys, name)); err != nil {
			return err
		}
	}
	return writeScan(smart, nil)
}

// writeScan says which drives the host has.
func writeScan(smart string, devices []any) error {
	scan := smartctlHead(0, "--scan-open", "--json")
	if len(devices) > 0 {
		scan["devices"] = devices
	}
	b, err := json.MarshalIndent(scan, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(smart, "scan.json"), append(b, '\n'))
}

// ShowDrive makes a host's root drive the recorded one, as it was on a day.
func (l *Lab) ShowDrive(host string, d Drive, day DriveDay) error {
	if l.host(host).Name == "" {
		return fmt.Errorf("%q is no host", host)
	}
	b, err := d.document(day)
	if err != nil {
		return err
	}
	return l.showRootDrive(host, append(b, '\n'), day.Failed)
}

// ShowDocument makes a host's smartctl print a document of its root drive as it
// stands: for what no recorded drive has shown, such as a failed overall health.
func (l *Lab) ShowDocument(host string, document []byte) error {
	if l.host(host).Name == "" {
		return fmt.Errorf("%q is no host", host)
	}
	return l.showRootDrive(host, document, false)
}

// showRootDrive writes what smartctl prints and how it exits.
func (l *Lab) showRootDrive(host string, document []byte, failed bool) error {
	smart := filepath.Dir(rootsOf(host).Smartctl)
	file := filepath.Join(smart, rootDrive+".json")
	if failed {
		if err := os.WriteFile(file+".failed", nil, 0o644); err != nil {
			return err
		}
	} else if err := os.Remove(file + ".failed"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeWhole(file, document); err != nil {
		return err
	}
	return writeScan(smart, []any{device})
}

// BreakSmartctl makes a host's smartctl hang, print garbage or be missing; "" makes it whole again.
func (l *Lab) BreakSmartctl(host, how string) error {
	if l.host(host).Name == "" {
		if how == "" {
			return nil // the manager's machine has none
		}
		return fmt.Errorf("%q is no host", host)
	}
	smartctl := rootsOf(host).Smartctl
	fault := filepath.Join(filepath.Dir(smartctl), "fault")
	switch how {
	case "":
		if err := os.Remove(fault); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if _, err := os.Stat(smartctl); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.WriteFile(smartctl, []byte(smartctlScript), 0o755)
	case "hang", "garbage":
		return writeWhole(fault, []byte(how+"\n"))
	case "missing":
		return os.Remove(smartctl)
	}
	return fmt.Errorf("smartctl cannot %q: expected hang, garbage or missing", how)
}
