package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/configs"
	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// libvirtSocket is where a host's libvirtd listens, inside the host.
const libvirtSocket = "/run/libvirt/libvirt-sock"

// libvirtdConf is the configuration of a host's libvirtd. The lab's libvirts reach
// each other by plain TCP: nobody else is in their network.
func libvirtdConf(uuid string, short bool) string {
	s := fmt.Sprintf(`host_uuid = "%s"
listen_tls = 0
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_rw = "none"
log_outputs = "2:stderr"
`, uuid)
	return s + keepalive(short)
}

// qemuConf is the configuration of a host's QEMU driver: no confinement, which needs what a lab host has not.
func qemuConf(short bool) string {
	return `user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
remember_owner = 0
` + keepalive(short)
}

// keepalive makes a libvirt give up on a silent peer after 4 s instead of 30 s.
func keepalive(short bool) string {
	if !short {
		return ""
	}
	return "keepalive_interval = 1\nkeepalive_count = 3\n"
}

// configureLibvirt fills a host's /etc/libvirt and gives it what libvirt has found
// out about QEMU before, which saves half a second at the first guest's start.
//
// With a hook its file is there before libvirtd begins, which looks for hooks
// only then.
func configureLibvirt(disk, uuid string, o Options) error {
	short := o.ShortKeepalive
	etc := filepath.Join(disk, "etc/libvirt")
	if err := errors.Join(os.RemoveAll(etc), os.MkdirAll(etc, 0o755), os.MkdirAll(filepath.Join(disk, "var/log/libvirt/qemu"), 0o755)); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"libvirtd.conf": libvirtdConf(uuid, short),
		"qemu.conf":     qemuConf(short),
		"libvirt.conf":  `uri_default = "qemu:///system"` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if o.Hook != string(configs.HookOff) {
		script := hook.Script(filepath.Join(filepath.Dir(disk), "bin", "vireo-hook"), configs.AgentPath)
		if _, err := hook.Install(filepath.Join(disk, hook.File()), script); err != nil {
			return err
		}
	}
	return copyCapabilities(cachedCapabilities(), capabilitiesOf(disk))
}

func cachedCapabilities() string { return filepath.Join(CacheDir, "libvirt-capabilities") }
func capabilitiesOf(disk string) string {
	return filepath.Join(disk, "var/cache/libvirt/qemu/capabilities")
}

// copyCapabilities copies libvirt's own cache; libvirt checks for itself that it still holds.
func copyCapabilities(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.xml"))
	if err != nil || len(files) == 0 {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := writeWhole(filepath.Join(to, filepath.Base(f)), data); err != nil {
			return err
		}
	}
	return nil
}

// libvirtServices are the services of a host's libvirt, in the order of their start.
func libvirtServices(logs string, restart bool) []supervise.Service {
	return []supervise.Service{
		{Name: "virtlogd", Argv: []string{"virtlogd"}, Log: filepath.Join(logs, "virtlogd.log"), Restart: restart},
		{Name: "libvirtd", Argv: []string{"libvirtd", "--listen"}, Log: filepath.Join(logs, "libvirtd.log"), Restart: restart, Ready: libvirtSocket},
	}
}

// hostUUID is the UUID that the libvirt of the host with a number shows.
func hostUUID(n int) string { return fmt.Sprintf("76697265-6f00-4000-9000-%012x", n) }

// machineID is the /etc/machine-id of the machine with an address.
func machineID(address string) string {
	return "76697265" + strings.ReplaceAll(fmt.Sprintf("%-24s", strings.ReplaceAll(address, ".", "e")), " ", "0")
}
