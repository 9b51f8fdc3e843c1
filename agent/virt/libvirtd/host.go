package libvirtd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// capabilities is the part of virConnectGetCapabilities that we read.
type capabilities struct {
	Host struct {
		UUID string `xml:"uuid"`
		CPU  struct {
			Arch     string `xml:"arch"`
			Model    string `xml:"model"`
			Features []struct {
				Name string `xml:"name,attr"`
			} `xml:"feature"`
		} `xml:"cpu"`
	} `xml:"host"`
	Guests []struct {
		Arch struct {
			Name     string `xml:"name,attr"`
			Machines []struct {
				Canonical string `xml:"canonical,attr"`
				Name      string `xml:",chardata"`
			} `xml:"machine"`
		} `xml:"arch"`
	} `xml:"guest"`
}

// domainCapabilities is the part of virConnectGetDomainCapabilities that we
// read: what host-model would become.
type domainCapabilities struct {
	CPU struct {
		Modes []struct {
			Name      string `xml:"name,attr"`
			Supported string `xml:"supported,attr"`
			Inner     string `xml:",innerxml"`
		} `xml:"mode"`
	} `xml:"cpu"`
}

func (c *conn) Host(ctx context.Context) (virt.HostInfo, error) {
	info, err := ask(ctx, c, "host", c.uri, readHost)
	if err != nil {
		return info, err
	}
	if c.local {
		info.LockManager, info.LockManagerKnown = lockManager(filepath.Join(c.opts.EtcRoot, "libvirt/qemu.conf"))
		info.DaemonSince = daemonSince(c.opts.RunRoot, c.opts.ProcRoot)
		info.Hooks = hooks(filepath.Join(c.opts.EtcRoot, "libvirt/hooks"))
	}
	return info, nil
}

func readHost(lv *libvirt.Connect) (info virt.HostInfo, err error) {
	text, err := lv.GetCapabilities()
	if err != nil {
		return info, err
	}
	var caps capabilities
	if err := xml.Unmarshal([]byte(text), &caps); err != nil {
		return info, err
	}
	info.UUID, info.Arch, info.CPUModel = caps.Host.UUID, caps.Host.CPU.Arch, caps.Host.CPU.Model
	for _, f := range caps.Host.CPU.Features {
		info.CPUFeatures = append(info.CPUFeatures, f.Name)
	}
	slices.Sort(info.CPUFeatures)
	for _, g := range caps.Guests {
		if g.Arch.Name != info.Arch {
			continue
		}
		for _, m := range g.Arch.Machines {
			info.Machines = append(info.Machines, m.Name)
			if m.Canonical != "" {
				info.Machines = append(info.Machines, m.Canonical)
			}
		}
	}
	slices.Sort(info.Machines)
	info.Machines = slices.Compact(info.Machines)

	if info.Hostname, err = lv.GetHostname(); err != nil {
		return info, err
	}
	node, err := lv.GetNodeInfo()
	if err != nil {
		return info, err
	}
	info.MemoryKiB, info.CPUs = node.Memory, int(node.Cpus)
	version, err := lv.GetLibVersion()
	if err != nil {
		return info, err
	}
	info.LibvirtVersion = virt.Version(version)
	if version, err = lv.GetVersion(); err != nil {
		return info, err
	}
	info.HypervisorVersion = virt.Version(version)
	info.HostModelXML = hostModel(lv)
	return info, nil
}

// hostModel is empty where libvirt can't say: that is a fact about the host,
// not a failure.
func hostModel(lv *libvirt.Connect) string {
	text, err := lv.GetDomainCapabilities("", "", "", "", 0)
	if err != nil {
		return ""
	}
	var caps domainCapabilities
	if xml.Unmarshal([]byte(text), &caps) != nil {
		return ""
	}
	for _, m := range caps.CPU.Modes {
		if m.Name == "host-model" && m.Supported == "yes" {
			return "<cpu mode='custom' match='exact'>" + strings.TrimSpace(m.Inner) + "</cpu>"
		}
	}
	return ""
}

// lockManager reads qemu.conf's lock_manager. A file that is not there is known
// too: libvirt has its default then, which is none.
func lockManager(path string) (name string, known bool) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", true
	}
	if err != nil {
		return "", false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.TrimSpace(key) == "lock_manager" {
			value, _, _ = strings.Cut(value, "#")
			name = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	if name == "nop" {
		name = ""
	}
	return name, lines.Err() == nil
}

// hooks lists what libvirt would run as a qemu hook: the file of that name, and
// executable files beside it.
func hooks(dir string) []string {
	var found []string
	names := []string{"qemu"}
	if entries, err := os.ReadDir(filepath.Join(dir, "qemu.d")); err == nil {
		for _, e := range entries {
			names = append(names, filepath.Join("qemu.d", e.Name()))
		}
	}
	for _, n := range names {
		path := filepath.Join(dir, n)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			found = append(found, path)
		}
	}
	return found
}
