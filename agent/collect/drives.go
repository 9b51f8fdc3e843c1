package collect

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"github.com/vireo-kvm/vireo/pfa/signal"
)

// Drives knows which component each block device is: disk:SERIAL. What smartctl
// said of a drive counts; else what the kernel says; a device without a serial
// number goes by its own name. All collectors share one.
type Drives struct {
	Sys string // root of /sys

	mu     sync.Mutex
	serial map[string]string // by device name, from smartctl
	news   chan struct{}     // see News
}

// Learn remembers the serial number of a device, given as smartctl names it.
func (d *Drives) Learn(device, serial string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.serial == nil {
		d.serial = map[string]string{}
	}
	name := filepath.Base(device)
	if d.serial[name] == serial {
		return
	}
	d.serial[name] = serial
	select {
	case d.changed() <- struct{}{}:
	default: // there are news already
	}
}

// News says that a device has turned out to be another drive than before: what
// needs the drive has to be found out again, before it looks as if nothing does.
func (d *Drives) News() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed()
}

func (d *Drives) changed() chan struct{} {
	if d.news == nil {
		d.news = make(chan struct{}, 1)
	}
	return d.news
}

// Known returns the component of a device that smartctl has read before.
func (d *Drives) Known(device string) (component string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	serial, ok := d.serial[filepath.Base(device)]
	return signal.DiskComponent(serial), ok
}

// Component names the drive behind a whole device such as sda or nvme0n1.
func (d *Drives) Component(device string) string {
	if c, ok := d.Known(device); ok {
		return c
	}
	// smartctl --scan names NVMe controllers; the kernel's device is a namespace.
	if controller, _, ok := strings.Cut(strings.TrimPrefix(device, "nvme"), "n"); ok && strings.HasPrefix(device, "nvme") {
		if c, ok := d.Known("nvme" + controller); ok {
			return c
		}
	}
	dir := filepath.Join(d.Sys, "block", device)
	for _, file := range []string{"device/serial", "serial"} { // NVMe, virtio
		if s := word(dir, file); plain(s) {
			return signal.DiskComponent(s)
		}
	}
	// SCSI and ATA: page 80h, four bytes of header and the serial number.
	if page := []byte(word(dir, "device/vpd_pg80")); len(page) > 4 {
		if s := string(bytes.TrimSpace(bytes.Trim(page[4:], "\x00"))); plain(s) {
			return signal.DiskComponent(s)
		}
	}
	return signal.DiskComponent(device)
}

// plain says whether a serial number can be part of a name.
func plain(serial string) bool {
	return serial != "" && len(serial) <= 128 && strings.IndexFunc(serial, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
