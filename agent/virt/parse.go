package virt

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// ParseDomain reads what one domain XML says: everything of Domain but what
// only libvirt knows (State, Reason, Job, Process, Persistent, Autostart,
// ManagedSave). ID is Inactive for a document that names none, such as a
// definition. Attempt is that of this document: of the live one it names the
// move that brought the process.
func ParseDomain(domainXML string) (Domain, error) {
	var x domainDoc
	if err := xml.Unmarshal([]byte(domainXML), &x); err != nil {
		return Domain{}, fmt.Errorf("domain XML: %w", err)
	}
	if x.XMLName.Local != "domain" {
		return Domain{}, fmt.Errorf("domain XML: root element is <%s>", x.XMLName.Local)
	}
	d := Domain{
		UUID: strings.ToLower(strings.TrimSpace(x.UUID)), Name: x.Name, Title: x.Title,
		ID: Inactive, State: StateShutOff, VCPUs: x.VCPU.count(),
	}
	var err error
	if x.ID != "" {
		if d.ID, err = strconv.Atoi(x.ID); err != nil {
			return Domain{}, fmt.Errorf("domain %s: id %q is not a number", x.Name, x.ID)
		}
	}
	if d.MaxMemoryKiB, err = x.Memory.kib(); err != nil {
		return Domain{}, fmt.Errorf("domain %s: memory: %w", x.Name, err)
	}
	if d.MemoryKiB, err = x.CurrentMemory.kib(); err != nil {
		return Domain{}, fmt.Errorf("domain %s: currentMemory: %w", x.Name, err)
	}
	if d.MemoryKiB == 0 {
		d.MemoryKiB = d.MaxMemoryKiB
	}
	if x.Metadata != nil && strings.Contains(x.Metadata.Inner, AttemptNamespace) {
		if d.Attempt, err = AttemptOf(domainXML); err != nil {
			return Domain{}, err
		}
	}
	d.Config = x.config()
	return d, nil
}

// domainDoc is the part of libvirt's domain format that we read. It is small on
// purpose: the whole of it, through libvirtxml, costs ten times as much per
// domain and report.
type domainDoc struct {
	XMLName       xml.Name
	Type          string     `xml:"type,attr"`
	ID            string     `xml:"id,attr"`
	Name          string     `xml:"name"`
	UUID          string     `xml:"uuid"`
	Title         string     `xml:"title"`
	Memory        sizeDoc    `xml:"memory"`
	CurrentMemory sizeDoc    `xml:"currentMemory"`
	VCPU          vcpuDoc    `xml:"vcpu"`
	OS            osDoc      `xml:"os"`
	CPU           cpuDoc     `xml:"cpu"`
	Devices       devicesDoc `xml:"devices"`
	Metadata      *struct {
		Inner string `xml:",innerxml"`
	} `xml:"metadata"`
}

type osDoc struct {
	Type struct {
		Arch    string `xml:"arch,attr"`
		Machine string `xml:"machine,attr"`
	} `xml:"type"`
	NVRAM struct {
		Path   string `xml:",chardata"`
		Source struct {
			File string `xml:"file,attr"`
		} `xml:"source"`
	} `xml:"nvram"`
}

type cpuDoc struct {
	Mode  string `xml:"mode,attr"`
	Model string `xml:"model"`
}

type devicesDoc struct {
	Emulator   string     `xml:"emulator"`
	Disks      []diskDoc  `xml:"disk"`
	Interfaces []nicDoc   `xml:"interface"`
	Leases     []leaseDoc `xml:"lease"`
	HostDevs   []struct {
		Type string `xml:"type,attr"`
	} `xml:"hostdev"`
	TPM []struct {
		Backend struct {
			Type string `xml:"type,attr"`
		} `xml:"backend"`
	} `xml:"tpm"`
}

type diskDoc struct {
	Type   string `xml:"type,attr"`
	Device string `xml:"device,attr"`
	Driver struct {
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source struct {
		File     string `xml:"file,attr"`
		Dev      string `xml:"dev,attr"`
		Dir      string `xml:"dir,attr"`
		Protocol string `xml:"protocol,attr"`
		Name     string `xml:"name,attr"`
		Pool     string `xml:"pool,attr"`
		Volume   string `xml:"volume,attr"`
		Path     string `xml:"path,attr"`
		Hosts    []struct {
			Name   string `xml:"name,attr"`
			Port   string `xml:"port,attr"`
			Socket string `xml:"socket,attr"`
		} `xml:"host"`
	} `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	ReadOnly  *struct{} `xml:"readonly"`
	Shareable *struct{} `xml:"shareable"`
}

type nicDoc struct {
	Type string `xml:"type,attr"`
	MAC  struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
	Source struct {
		Network string `xml:"network,attr"`
		Bridge  string `xml:"bridge,attr"`
		Dev     string `xml:"dev,attr"`
	} `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	FilterRef struct {
		Filter string `xml:"filter,attr"`
	} `xml:"filterref"`
}

type leaseDoc struct {
	Lockspace string `xml:"lockspace"`
	Key       string `xml:"key"`
	Target    struct {
		Path string `xml:"path,attr"`
	} `xml:"target"`
}

func (x domainDoc) config() Config {
	c := Config{
		Type: x.Type, Arch: x.OS.Type.Arch, Machine: x.OS.Type.Machine,
		Emulator: x.Devices.Emulator, CPUMode: x.CPU.Mode, CPUModel: strings.TrimSpace(x.CPU.Model),
		NVRAM: strings.TrimSpace(x.OS.NVRAM.Path), Metadata: x.Metadata != nil,
	}
	if c.NVRAM == "" {
		c.NVRAM = x.OS.NVRAM.Source.File
	}
	if c.CPUMode == "" && c.CPUModel != "" {
		c.CPUMode = "custom"
	}
	for _, t := range x.Devices.TPM {
		c.TPM = t.Backend.Type
	}
	for _, h := range x.Devices.HostDevs {
		c.HostDevices = append(c.HostDevices, h.Type)
	}
	for _, l := range x.Devices.Leases {
		c.Leases = append(c.Leases, Lease{Lockspace: l.Lockspace, Key: l.Key, Path: l.Target.Path})
	}
	for _, d := range x.Devices.Disks {
		c.Disks = append(c.Disks, d.disk())
	}
	for _, n := range x.Devices.Interfaces {
		nic := NIC{
			MAC: n.MAC.Address, Type: n.Type, Network: n.Source.Network, Bridge: n.Source.Bridge,
			Target: n.Target.Dev, Filter: n.FilterRef.Filter,
		}
		if n.Type == "direct" {
			nic.Device = n.Source.Dev
		}
		c.NICs = append(c.NICs, nic)
	}
	return c
}

func (x diskDoc) disk() Disk {
	d := Disk{
		Target: x.Target.Dev, Device: x.Device, Type: x.Type, Format: x.Driver.Type,
		Protocol: x.Source.Protocol, ReadOnly: x.ReadOnly != nil, Shared: x.Shareable != nil,
	}
	if d.Device == "" {
		d.Device = "disk"
	}
	switch x.Type {
	case "file":
		d.Source = x.Source.File
	case "block":
		d.Source = x.Source.Dev
	case "dir":
		d.Source = x.Source.Dir
	case "network":
		d.Source = x.Source.Name
	case "vhostuser":
		d.Source = x.Source.Path
	case "volume":
		if x.Source.Pool != "" || x.Source.Volume != "" {
			d.Source = x.Source.Pool + "/" + x.Source.Volume
		}
	}
	for _, h := range x.Source.Hosts {
		switch {
		case h.Socket != "":
			d.Hosts = append(d.Hosts, h.Socket)
		case h.Port != "":
			d.Hosts = append(d.Hosts, h.Name+":"+h.Port)
		default:
			d.Hosts = append(d.Hosts, h.Name)
		}
	}
	return d
}

type vcpuDoc struct {
	Current string `xml:"current,attr"`
	Max     string `xml:",chardata"`
}

func (v vcpuDoc) count() int {
	for _, s := range []string{v.Current, strings.TrimSpace(v.Max)} {
		if n, err := strconv.Atoi(s); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

type sizeDoc struct {
	Unit  string `xml:"unit,attr"`
	Value string `xml:",chardata"`
}

// kib converts libvirt's scaled integer: KiB when no unit is given, k and KB as
// they differ (1024 and 1000), rounded up.
func (s sizeDoc) kib() (uint64, error) {
	text := strings.TrimSpace(s.Value)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	scale, ok := map[string]uint64{
		"": 1 << 10, "b": 1, "bytes": 1,
		"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
		"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
		"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
		"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
	}[strings.ToLower(s.Unit)]
	if !ok {
		return 0, fmt.Errorf("unit %q is unknown", s.Unit)
	}
	if n > (1<<63)/scale {
		return 0, fmt.Errorf("%s %s is too large", text, s.Unit)
	}
	return (n*scale + 1023) / 1024, nil
}

// CPUElement cuts the <cpu> element out of a domain's XML; "" when it has none.
func CPUElement(domainXML string) (string, error) {
	var from, to int64
	err := walk(domainXML, func(path []xml.Name, start *xml.StartElement, a, b int64) {
		if len(path) != 2 || path[1].Local != "cpu" {
			return
		}
		if start != nil {
			from = a
		}
		to = b
	})
	if err != nil {
		return "", err
	}
	return domainXML[from:to], nil
}
