package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vireo-kvm/vireo/agent/collect"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// Where the machine says who it is. These are not below the collectors' roots:
// those may show a recording of another machine.
const (
	machineIDFile = "/etc/machine-id"
	bootIDFile    = "/proc/sys/kernel/random/boot_id"
)

// hostName is the name to enrol as.
func hostName(cfg configs.Agent, flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if cfg.Host != "" {
		return cfg.Host, nil
	}
	return os.Hostname()
}

func readID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if id == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return id, nil
}

// machineID may be missing on a minimal system: "" then.
func machineID() (string, error) {
	id, err := readID(machineIDFile)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return id, err
}

// libvirtHost asks the host's libvirtd who it is.
func libvirtHost(ctx context.Context, open virt.Opener, uri string) (virt.HostInfo, error) {
	conn, err := open(ctx, uri, nil)
	if err != nil {
		return virt.HostInfo{}, err
	}
	defer conn.Close()
	return conn.Host(ctx)
}

// localDisks are the disks of domains that lie on this host's devices.
func localDisks(domains []virt.Domain) []collect.DomainDisk {
	list := []collect.DomainDisk{}
	for _, d := range domains {
		for _, disk := range d.Disks {
			if (disk.Device != "disk" && disk.Device != "lun") || !strings.HasPrefix(disk.Source, "/") {
				continue
			}
			list = append(list, collect.DomainDisk{Domain: d.UUID, Path: disk.Source})
		}
	}
	return list
}
