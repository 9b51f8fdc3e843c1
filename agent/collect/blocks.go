package collect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// blocks finds the drives below a block device, through partitions, device
// mapper, md and loop devices, as /sys shows them.
type blocks struct {
	sys string
	dev string                                // root of /dev
	of  func(path string, depth int) []string // drives below a file's file system, for loop devices
}

// maxDepth ends what /sys should never show: a stack without a bottom.
const maxDepth = 16

// byNumber names the block device "8:1"; "" when there is none, as for file
// systems without one.
func (b blocks) byNumber(number string) string {
	if strings.HasPrefix(number, "0:") {
		return ""
	}
	if target, err := os.Readlink(filepath.Join(b.sys, "dev/block", number)); err == nil {
		return filepath.Base(target)
	}
	for _, name := range names(b.sys, "class/block") {
		if word(b.sys, "class/block", name, "dev") == number {
			return name
		}
	}
	return ""
}

// byPath names the block device behind a path below /dev, through links such as
// /dev/mapper/vg-lv and /dev/disk/by-id/…; "" when it is none.
func (b blocks) byPath(path string) string {
	rest, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return ""
	}
	for range maxDepth {
		target, err := os.Readlink(filepath.Join(b.dev, rest))
		if err != nil {
			break
		}
		if filepath.IsAbs(target) {
			if rest, ok = strings.CutPrefix(target, "/dev/"); !ok {
				return ""
			}
			continue
		}
		rest = filepath.Join(filepath.Dir(rest), target)
	}
	if name := filepath.Base(rest); b.dir(name) != "" {
		return name
	}
	return ""
}

// dir is where /sys describes the device.
func (b blocks) dir(name string) string {
	for _, parent := range []string{"class/block", "block"} {
		dir := filepath.Join(b.sys, parent, name)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return real
		}
	}
	return ""
}

// drives are the whole devices at the bottom of name: several for a mirror,
// itself for a drive.
func (b blocks) drives(name string, depth int) []string {
	dir := b.dir(name)
	if dir == "" || depth > maxDepth {
		return nil
	}
	if exists(dir, "partition") {
		return b.drives(filepath.Base(filepath.Dir(dir)), depth+1)
	}
	var below []string
	if slaves := names(dir, "slaves"); len(slaves) > 0 {
		for _, s := range slaves {
			below = append(below, b.drives(s, depth+1)...)
		}
	} else if file := word(dir, "loop/backing_file"); file != "" && b.of != nil {
		below = b.of(file, depth+1)
	} else if !strings.HasPrefix(name, "loop") && !strings.HasPrefix(name, "ram") && !strings.HasPrefix(name, "zram") {
		below = []string{name}
	}
	slices.Sort(below)
	return slices.Compact(below)
}
